// SPDX-License-Identifier: Apache-2.0
// Branches, barriers, fences, the end of a thread, and the wait of a dependent launch.
#include "runtime/emulator/control_opcodes.h"

#include <fmt/format.h>

#include <atomic>

#include "runtime/emulator/cluster.h"
#include "runtime/emulator/member_mask.h"
#include "runtime/emulator/opcode_table.h"

namespace nvfp4::emulator {

void execute_branch(Warp& warp, const Instruction& instruction) { warp.branch(instruction); }

void execute_branch_table(Warp& warp, const Instruction& instruction) {
  const auto& targets = warp.function().branch_tables[instruction.immediate];
  const uint32_t* index = warp.cells<uint32_t>(instruction.operand[0]);
  for_each_lane(warp.mask(), [&](int lane) {
    if (index[lane] < targets.size()) return;
    warp.fail(FaultKind::illegal_address, lane,
              fmt::format("branch index {} is not below {}", index[lane], targets.size()));
  });
  warp.branch_table(instruction, index, targets);
}

void execute_exit(Warp& warp, const Instruction&) { warp.exit_lanes(); }

namespace {

void no_operation(Warp&, const Instruction&) {}

void fence(Warp&, const Instruction&) { std::atomic_thread_fence(std::memory_order_seq_cst); }

void trap(Warp& warp, const Instruction&) {
  warp.fail(FaultKind::trap, first_lane(warp.mask()), "trap");
}

// All lanes must name the same barrier and the same count.
uint32_t uniform(Warp& warp, Slot slot) {
  const uint32_t* cell = warp.cells<uint32_t>(slot);
  const int first = first_lane(warp.mask());
  for_each_lane(warp.mask(), [&](int lane) {
    if (cell[lane] == cell[first]) return;
    warp.fail(
        FaultKind::barrier_divergence, lane,
        fmt::format("lanes of a warp name {} and {} at one barrier", cell[first], cell[lane]));
  });
  return cell[first];
}

uint32_t thread_count(Warp& warp, Slot slot) { return slot == kNoSlot ? 0 : uniform(warp, slot); }

// Operands: barrier, threads or none.
template <bool kWaits>
void barrier(Warp& warp, const Instruction& instruction) {
  const uint32_t id = uniform(warp, instruction.operand[0]);
  const uint32_t threads = thread_count(warp, instruction.operand[1]);
  warp.block().arrive(warp, {.id = static_cast<int>(id), .threads = threads, .waits = kWaits});
}

// Operands: d, barrier, predicate.
template <BarrierReduction kReduction>
void barrier_reduction(Warp& warp, const Instruction& instruction) {
  warp.block().arrive(warp, {.id = static_cast<int>(uniform(warp, instruction.operand[1])),
                             .threads = 0,
                             .waits = true,
                             .reduction = kReduction,
                             .lanes = warp.predicate_mask(instruction.operand[2]) & warp.mask(),
                             .destination = instruction.operand[0]});
}

void warp_barrier(Warp& warp, const Instruction& instruction) {
  check_members(warp, instruction.operand[0]);
  warp.block().cluster().order().sync_warp(warp.agent());
}

void wait_for_grid(Warp& warp, const Instruction&) {
  if (warp.block().past_grid_wait()) {
    warp.waited_for_grid = true;
  } else {
    warp.block_in(WarpState::at_grid_wait);
  }
}

}  // namespace

void add_control_opcodes(OpcodeTable& table) {
  table.add("ret exit", {"=", &execute_exit, 0});
  table.add("trap", {"=", &trap, 0});
  table.add("nanosleep.u32", {"=w", &no_operation, 0});
  table.add("membar.cta membar.gl membar.sys", {"=", &fence, 0});
  for (const char* kind : {"sc", "acq_rel", "acquire", "release"}) {
    for (const char* scope : {"cta", "cluster", "gpu", "sys"})
      table.add(fmt::format("fence.{}.{}", kind, scope), {"=", &fence, 0});
  }
  table.add("griddepcontrol.launch_dependents", {"=", &no_operation, 0});
  table.add("griddepcontrol.wait", {"=", &wait_for_grid, 0});
  table.add("bar.warp.sync", {"=w", &warp_barrier, 0});
  table.add(
      "bar.sync bar.cta.sync barrier.sync barrier.cta.sync barrier.sync.aligned "
      "barrier.cta.sync.aligned",
      {"=wo", &barrier<true>, 0});
  table.add(
      "bar.arrive bar.cta.arrive barrier.arrive barrier.cta.arrive barrier.arrive.aligned "
      "barrier.cta.arrive.aligned",
      {"=wo", &barrier<false>, 0});
  table.add("bar.red.popc.u32 barrier.cta.red.popc.aligned.u32",
            {"w=wp", &barrier_reduction<BarrierReduction::popc>, 0});
  table.add("bar.red.and.pred barrier.cta.red.and.aligned.pred",
            {"p=wp", &barrier_reduction<BarrierReduction::all>, 0});
  table.add("bar.red.or.pred barrier.cta.red.or.aligned.pred",
            {"p=wp", &barrier_reduction<BarrierReduction::any>, 0});
}

}  // namespace nvfp4::emulator
