// SPDX-License-Identifier: Apache-2.0
// A warp: 32 lanes that run one instruction at a time. Lanes that took different ways at a branch
// run one after the other and meet again at the branch's immediate post-dominator; a stack of paths
// keeps who waits where. (Real cards schedule diverged lanes freely; code that needs that, such as
// a spin lock between lanes of one warp, deadlocks here and is caught by the instruction limit.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/emulator/async_copies.h"
#include "runtime/emulator/bulk_reads.h"
#include "runtime/emulator/fault.h"
#include "runtime/emulator/lane_value.h"
#include "runtime/emulator/program.h"
#include "runtime/emulator/wgmma_registers.h"

namespace nvfp4::emulator {

class Block;
struct Mbarrier;

enum class WarpState {
  ready,
  yielded,  ///< until its next turn
  at_barrier,
  at_grid_wait,
  at_mbarrier,
  at_cluster_barrier,
  at_registers,
  at_wgmma,
  done
};

/// A warp's progress through barrier.cluster.
enum class ClusterBarrier : uint8_t { idle, arrived, complete };

class Warp {
 public:
  /// `live`: the lanes that exist.
  void start(Block& block, const Function& function, int index, uint32_t live);

  /// Runs until the warp blocks or ends, or `budget` instructions are spent; returns how many ran.
  int64_t run(int64_t budget);

  /// 32 lane values of a register or a constant.
  template <class T>
  LaneCell<T>* cells(Slot slot) {
    std::byte* base = slot & kConstantSlot ? constants_ : registers_;
    return reinterpret_cast<LaneCell<T>*>(base + (slot & kSlotOffset));
  }

  /// Lanes for which predicate `slot` holds.
  uint32_t predicate_mask(Slot slot);

  // Control flow, for the instructions that do it. All act on the lanes of mask().
  void jump(int target);
  void branch(const Instruction& instruction);  ///< lanes of mask() to its target, the others go on
  void branch_table(const Instruction& instruction, const uint32_t* index,
                    const std::vector<int32_t>& targets);
  void exit_lanes();
  void block_in(WarpState state) { state_ = state; }
  void retry_in(WarpState state);  ///< the same, and then the instruction runs again
  void wake() { state_ = WarpState::ready; }
  bool time_out();  ///< wakes the warp if it waits at an mbarrier

  Block& block() { return *block_; }
  const Function& function() const { return *function_; }
  const Instruction& current() const { return *current_; }
  AsyncCopies& copies() { return copies_; }
  BulkReads& bulk_reads() { return bulk_reads_; }
  WgmmaRegisters& wgmma() { return wgmma_; }
  WarpState state() const { return state_; }
  int index() const { return index_; }
  int agent() const { return agent_; }         ///< its number in the cluster (happens_before.h)
  uint32_t mask() const { return mask_; }      ///< lanes the current instruction acts on
  uint32_t active() const { return active_; }  ///< lanes on the current path
  uint32_t live() const { return live_; }      ///< lanes that have not exited
  bool waited_for_grid = false;
  int registers = 0;  ///< a thread's (setmaxnreg)
  ClusterBarrier cluster_barrier = ClusterBarrier::idle;
  Mbarrier* awaited = nullptr;  ///< in state at_mbarrier
  bool timed_out = false;       ///< woken from that state without the phase

  [[noreturn]] void fail(FaultKind kind, int lane, std::string text) const {
    throw Violation{kind, lane, std::move(text)};
  }

 private:
  // Lanes that will run from `pc` until they reach `reconverge`.
  struct Path {
    int pc;
    int reconverge;
    uint32_t lanes;
  };
  void resume_path();
  void diverge(int pc, int reconverge, uint32_t lanes);
  void preload();

  Block* block_ = nullptr;
  const Function* function_ = nullptr;
  const Instruction* current_ = nullptr;
  std::byte* registers_ = nullptr;
  std::byte* constants_ = nullptr;
  int pc_ = 0;
  int reconverge_ = kNoTarget;
  uint32_t mask_ = 0;
  uint32_t active_ = 0;
  uint32_t live_ = 0;
  int index_ = 0;
  int agent_ = 0;
  WarpState state_ = WarpState::done;
  std::vector<Path> paths_;  // waiting below the current one
  std::vector<std::byte> register_file_;
  AsyncCopies copies_;
  BulkReads bulk_reads_;
  WgmmaRegisters wgmma_;
};

}  // namespace nvfp4::emulator
