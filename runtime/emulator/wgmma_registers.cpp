// SPDX-License-Identifier: Apache-2.0
#include "runtime/emulator/wgmma_registers.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/emulator/cluster.h"

namespace nvfp4::emulator {
namespace {

[[noreturn]] void misuse(Warp& warp, std::string text) {
  warp.fail(FaultKind::wgmma_misuse, first_lane(warp.mask()), std::move(text));
}

}  // namespace

void WgmmaRegisters::reset(size_t bytes) {
  states_.assign(bytes / (4 * kWarpLanes), {});
  own_stamps_.clear();
  fences_ = committed_ = completed_ = latest_use_ = 0;
}

void WgmmaRegisters::touch(Warp& warp, const Instruction& instruction) {
  for (int k = 0; k < instruction.operands; ++k) {
    State* state = find(instruction.operand[k]);
    if (state == nullptr) continue;
    const bool writes = k < instruction.destinations;
    if (state->group > completed_ && (writes || state->accumulates)) {
      misuse(warp, fmt::format("{} a register that the wgmma at PTX line {} {}, before a "
                               "wgmma.wait_group has covered it",
                               writes ? "writes" : "reads", state->line,
                               state->accumulates ? "accumulates in" : "reads"));
    }
    if (writes) state->written = fences_ + 1;
  }
}

void WgmmaRegisters::use(Warp& warp, const std::vector<Slot>& accumulators, const Slot* a,
                         int count) {
  if (fences_ == 0) misuse(warp, "wgmma.mma_async without a wgmma.fence before the first one");
  const auto take = [&](Slot slot, bool accumulates) {
    State* state = find(slot);
    if (state == nullptr) return;
    if (state->written == fences_ + 1) {
      misuse(warp, fmt::format("{} was written after the last wgmma.fence",
                               accumulates ? "an accumulator" : "a register of A"));
    }
    if (!accumulates && state->accumulates && state->group > completed_)
      misuse(warp, fmt::format("A is what the wgmma at PTX line {} accumulates in", state->line));
    *state = {open_group(), state->written, warp.current().line, accumulates};
  };
  for (const Slot slot : accumulators) take(slot, true);
  for (int i = 0; i < count; ++i) take(a[i], false);
  latest_use_ = open_group();
}

void WgmmaRegisters::commit(Warp& warp) {
  HappensBefore& order = warp.block().cluster().order();
  own_stamps_.push_back(order.now(warp.agent()));
  order.tick(warp.agent());
  ++committed_;
}

// Who has waited comes after the reads of the groups that ended, and after the warp's own accesses
// before their commit: all lanes' loads into A have ended with them.
void WgmmaRegisters::wait(Warp& warp, uint32_t pending) {
  if (committed_ <= pending || committed_ - pending <= completed_) return;
  completed_ = committed_ - pending;
  HappensBefore& order = warp.block().cluster().order();
  order.complete_wgmma(warp.agent(), warp.block().wgmma_agent(warp), order.base() + completed_,
                       own_stamps_[completed_ - 1]);
}

void WgmmaRegisters::check_done(Warp& warp) const {
  if (latest_use_ > completed_) misuse(warp, "the thread ends with a wgmma in flight");
}

}  // namespace nvfp4::emulator
