// SPDX-License-Identifier: Apache-2.0
// The cp.async copies of one warp that have not been waited for. A copy's bytes are taken when it
// is issued but reach shared memory only at the wait of the thread that issued it, so a kernel that
// waits too little computes with old data here every time, not just on a slow day.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>

#include "runtime/emulator/lane_value.h"

namespace nvfp4::emulator {

/// One warp instruction's worth of copies.
struct AsyncCopy {
  uint32_t lanes = 0;               ///< whose copy has not landed
  uint32_t bytes = 0;               ///< 4, 8 or 16
  std::array<uint32_t, 32> target;  ///< offset in shared memory
  std::array<uint32_t, 32> group;   ///< the lane's commit group
  alignas(16) std::array<std::array<std::byte, 16>, 32> data;
};

class AsyncCopies {
 public:
  void reset();

  /// A new copy in the open group of each lane of `lanes`; the caller fills in the rest.
  AsyncCopy& issue(uint32_t lanes);

  void commit(uint32_t lanes);

  /// Lands, for each lane of `lanes`, every copy of all but its `pending` latest committed groups.
  template <class Land>
  void wait_group(uint32_t lanes, uint32_t pending, Land&& land) {
    std::array<uint32_t, 32> end;  // groups below this one are complete
    for (int lane = 0; lane < 32; ++lane)
      end[lane] = open_[lane] > pending ? open_[lane] - pending : 0;
    land_below(lanes, end, land);
  }

  /// Lands every copy of `lanes`, committed or not.
  template <class Land>
  void wait_all(uint32_t lanes, Land&& land) {
    commit(lanes);
    wait_group(lanes, 0, land);
  }

  /// The same without ending the open groups.
  template <class Land>
  void land_all(uint32_t lanes, Land&& land) {
    std::array<uint32_t, 32> end;
    for (int lane = 0; lane < 32; ++lane) end[lane] = open_[lane] + 1;
    land_below(lanes, end, land);
  }

 private:
  // land(copy, lane) moves one lane's bytes.
  template <class Land>
  void land_below(uint32_t lanes, const std::array<uint32_t, 32>& end, Land&& land) {
    for (AsyncCopy& copy : copies_) {
      uint32_t ready = 0;
      for (int lane = 0; lane < 32; ++lane)
        ready |= copy.group[lane] < end[lane] ? kLaneBit<uint32_t>[lane] : 0;
      ready &= copy.lanes & lanes;
      for_each_lane(ready, [&](int lane) { land(copy, lane); });
      copy.lanes &= ~ready;
    }
    while (!copies_.empty() && copies_.front().lanes == 0) copies_.pop_front();
  }

  std::deque<AsyncCopy> copies_;     // oldest first
  std::array<uint32_t, 32> open_{};  // number of each lane's open group
};

}  // namespace nvfp4::emulator
