// SPDX-License-Identifier: Apache-2.0
// The interpreter's loop and the stack of diverged paths.
#include "runtime/emulator/warp.h"

#include <algorithm>

#include "runtime/emulator/block.h"

namespace nvfp4::emulator {

void Warp::start(Block& block, const Function& function, int index, uint32_t live) {
  constexpr std::byte kPoison{0xa5};  // what a register holds before it is written: nothing useful
  block_ = &block;
  function_ = &function;
  index_ = index;
  agent_ = block.rank() * block.warps() + index;
  register_file_.assign(function.register_bytes + 64, kPoison);
  // Cells are read and written in vectors: start on a cache line.
  const auto address = reinterpret_cast<uintptr_t>(register_file_.data());
  registers_ = register_file_.data() + (-address & 63);
  constants_ =
      const_cast<std::byte*>(reinterpret_cast<const std::byte*>(function.constants.data()));
  pc_ = 0;
  reconverge_ = kNoTarget;
  active_ = live_ = live;
  state_ = WarpState::ready;
  waited_for_grid = false;
  registers = function.info.registers;
  cluster_barrier = ClusterBarrier::idle;
  timed_out = false;
  paths_.clear();
  copies_.reset();
  bulk_reads_.reset();
  wgmma_.reset(function.wgmma_bytes);
  preload();
}

void Warp::preload() {
  for (const Preload& preload : function_->preloads) {
    if (preload.special == Special::variable) {
      const auto& addresses = block_->request().variables;
      std::fill_n(cells<uint64_t>(preload.slot), kWarpLanes, addresses.at(preload.variable));
      continue;
    }
    uint32_t* cell = cells<uint32_t>(preload.slot);
    for (int lane = 0; lane < kWarpLanes; ++lane)
      cell[lane] = block_->special(preload.special, index_, lane);
  }
}

uint32_t Warp::predicate_mask(Slot slot) {
  const uint32_t* cell = cells<uint32_t>(slot);
  uint32_t mask = 0;
  for (int lane = 0; lane < kWarpLanes; ++lane) mask |= cell[lane] & kLaneBit<uint32_t>[lane];
  return mask;
}

int64_t Warp::run(int64_t budget) {
  const Instruction* code = function_->code.data();
  int64_t left = budget;
  while (state_ == WarpState::ready && left > 0) {
    if (pc_ == reconverge_) {
      resume_path();
      continue;
    }
    current_ = &code[pc_++];
    mask_ = active_;
    if (current_->guard != kNoSlot) {
      const uint32_t predicate = predicate_mask(current_->guard);
      mask_ &= current_->guard_negated ? ~predicate : predicate;
    }
    --left;
    if (mask_ == 0) continue;
    if (current_->touches_wgmma) [[unlikely]]
      wgmma_.touch(*this, *current_);
    current_->execute(*this, *current_);
  }
  return budget - left;
}

void Warp::retry_in(WarpState state) {
  pc_ = static_cast<int>(current_ - function_->code.data());
  state_ = state;
}

bool Warp::time_out() {
  if (state_ != WarpState::at_mbarrier) return false;
  std::erase(awaited->waiting, this);
  timed_out = true;
  wake();
  return true;
}

void Warp::jump(int target) { pc_ = target; }

// Leaves the current path for others: what follows their meeting point waits below them. Where the
// current path already ends at that point, its own entry below does the same.
void Warp::diverge(int pc, int reconverge, uint32_t lanes) {
  if (reconverge != kNoTarget && reconverge != reconverge_) {
    paths_.push_back({reconverge, reconverge_, active_});
  }
  pc_ = pc;
  reconverge_ = reconverge;
  active_ = lanes;
}

void Warp::branch(const Instruction& instruction) {
  if (mask_ == active_) return jump(instruction.target);
  const uint32_t taken = mask_;
  const uint32_t fallen = active_ & ~mask_;
  const int next = pc_;
  const int meet = instruction.reconverge;
  if (instruction.target == meet) return diverge(next, meet, fallen);
  diverge(instruction.target, meet, taken);
  if (next != meet) paths_.push_back({next, meet, fallen});
}

void Warp::branch_table(const Instruction& instruction, const uint32_t* index,
                        const std::vector<int32_t>& targets) {
  const int meet = instruction.reconverge;
  const int next = pc_;
  const uint32_t stay = active_ & ~mask_;
  uint32_t left = mask_;
  std::vector<Path> ways;
  while (left != 0) {
    const uint32_t way = index[first_lane(left)];
    uint32_t lanes = 0;
    for_each_lane(left, [&](int lane) { lanes |= index[lane] == way ? 1u << lane : 0; });
    ways.push_back({targets.at(way), meet, lanes});
    left &= ~lanes;
  }
  if (stay != 0) ways.push_back({next, meet, stay});
  if (ways.size() == 1) return jump(ways[0].pc);
  diverge(ways[0].pc, meet, ways[0].lanes);
  paths_.insert(paths_.end(), ways.begin() + 1, ways.end());
}

void Warp::resume_path() {
  while (!paths_.empty()) {
    const Path path = paths_.back();
    paths_.pop_back();
    if ((path.lanes & live_) == 0) continue;
    pc_ = path.pc;
    reconverge_ = path.reconverge;
    active_ = path.lanes & live_;
    return;
  }
  state_ = WarpState::done;
}

void Warp::exit_lanes() {
  bulk_reads_.check_done(*this);
  wgmma_.check_done(*this);
  live_ &= ~mask_;
  active_ &= ~mask_;
  if (active_ == 0) resume_path();
  if (state_ == WarpState::done) block_->warp_ended(*this);
}

}  // namespace nvfp4::emulator
