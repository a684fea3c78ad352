// SPDX-License-Identifier: Apache-2.0
// The registers that one warp hands to wgmma, and its wgmma groups. wgmma.mma_async reads A and
// updates the accumulators while the warp goes on, until wgmma.wait_group has covered its group;
// and only a wgmma.fence makes registers that the warp has written ready for it (PTX ISA,
// "Asynchronous Warpgroup Level Matrix Instructions").
//
// An instruction may update accumulators that an earlier one of the same shape still updates. The
// manual forbids all access to A's registers in flight; here only writing them is an error, since a
// compiler may keep a value in one virtual register for two uses.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/emulator/program.h"

namespace nvfp4::emulator {

class WgmmaRegisters {
 public:
  /// `bytes`: Function::wgmma_bytes.
  void reset(size_t bytes);

  /// Checks an ordinary instruction that names such registers, and remembers what it writes.
  void touch(Warp& warp, const Instruction& instruction);

  void fence() { ++fences_; }

  /// An mma_async uses these, in the open group; a fault unless they are ready.
  void use(Warp& warp, const std::vector<Slot>& accumulators, const Slot* a, int count);

  void commit(Warp& warp);
  void wait(Warp& warp, uint32_t pending);

  uint32_t open_group() const { return committed_ + 1; }

  /// A fault if the warp would end with a wgmma in flight.
  void check_done(Warp& warp) const;

 private:
  struct State {
    uint32_t group = 0;    // that uses it
    uint32_t written = 0;  // number of fences before the last write
    int32_t line = 0;      // of the wgmma
    bool accumulates = false;
  };
  State* find(Slot slot) {
    if (slot == kNoSlot || (slot & kConstantSlot) != 0) return nullptr;
    const size_t index = (slot & kSlotOffset) / (4 * kWarpLanes);
    return index < states_.size() ? &states_[index] : nullptr;
  }

  std::vector<State> states_;
  std::vector<uint32_t> own_stamps_;  // of the warp, when each group was committed
  uint32_t fences_ = 0;
  uint32_t committed_ = 0;
  uint32_t completed_ = 0;
  uint32_t latest_use_ = 0;  // group of the last mma_async
};

}  // namespace nvfp4::emulator
