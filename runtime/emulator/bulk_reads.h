// SPDX-License-Identifier: Apache-2.0
// The bulk copies out of shared memory that the threads of one warp have started: until their bulk
// group has been waited for (cp.async.bulk.wait_group), the copy engine may still read the source.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace nvfp4::emulator {

class Warp;

class BulkReads {
 public:
  void reset() {
    reads_.clear();
    open_.fill(0);
  }
  void start(int lane, uint32_t offset, uint32_t bytes) {
    reads_.push_back({lane, open_[lane], offset, bytes});
  }
  void commit(uint32_t lanes) {
    for (int lane = 0; lane < 32; ++lane) open_[lane] += lanes >> lane & 1;
  }
  /// Ends, for each lane of `lanes`, the reads of all but its `pending` latest committed groups.
  void wait(Warp& warp, uint32_t lanes, uint32_t pending);

  /// A fault if a lane of the warp's mask would end with a read in flight.
  void check_done(Warp& warp) const;

 private:
  struct Read {
    int lane;
    uint32_t group;
    uint32_t offset;
    uint32_t bytes;
  };
  std::vector<Read> reads_;
  std::array<uint32_t, 32> open_{};  // number of each lane's open group
};

}  // namespace nvfp4::emulator
