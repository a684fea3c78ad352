// SPDX-License-Identifier: Apache-2.0
// Instructions through which the lanes of a warp exchange values: shfl, vote, match, redux. The
// lanes that the member mask names must be here together; a value from a lane that is not is
// undefined on the device and an error here.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "runtime/emulator/member_mask.h"
#include "runtime/emulator/opcode_table.h"

namespace nvfp4::emulator {

void check_members(Warp& warp, Slot slot) {
  const uint32_t* member = warp.cells<uint32_t>(slot);
  for_each_lane(warp.mask(), [&](int lane) {
    if ((member[lane] >> lane & 1) == 0) {
      warp.fail(FaultKind::barrier_divergence, lane,
                fmt::format("the member mask {:#010x} leaves out the thread that names it",
                            member[lane]));
    }
    const uint32_t missing = member[lane] & warp.live() & ~warp.mask();
    if (missing != 0) {
      warp.fail(FaultKind::barrier_divergence, first_lane(missing),
                fmt::format("the member mask {:#010x} names this thread, which is not here (lanes "
                            "here: {:#010x})",
                            member[lane], warp.mask()));
    }
  });
}

namespace {

enum class ShuffleMode { up, down, butterfly, index };

// Operands: d, p or none, a, b, c, member mask. `c` holds the clamp value and the segment mask.
template <ShuffleMode kMode>
void shuffle_lanes(Warp& warp, const Instruction& instruction) {
  check_members(warp, instruction.operand[5]);
  const uint32_t* a = warp.cells<uint32_t>(instruction.operand[2]);
  const uint32_t* b = warp.cells<uint32_t>(instruction.operand[3]);
  const uint32_t* c = warp.cells<uint32_t>(instruction.operand[4]);
  uint32_t value[kWarpLanes];
  uint32_t found[kWarpLanes];
  for_each_lane(warp.mask(), [&](int lane) {
    const int amount = static_cast<int>(b[lane] & 31);
    const int segment = static_cast<int>(c[lane] >> 8 & 31);
    const int bound = (lane & segment) | (static_cast<int>(c[lane] & 31) & ~segment);
    int source = lane;
    bool inside = false;
    switch (kMode) {
      case ShuffleMode::up:
        source = lane - amount;
        inside = source >= bound;
        break;
      case ShuffleMode::down:
        source = lane + amount;
        inside = source <= bound;
        break;
      case ShuffleMode::butterfly:
        source = lane ^ amount;
        inside = source <= bound;
        break;
      case ShuffleMode::index:
        source = (lane & segment) | (amount & ~segment);
        inside = source <= bound;
        break;
    }
    if (!inside) source = lane;
    if ((warp.mask() >> source & 1) == 0) {
      warp.fail(FaultKind::barrier_divergence, lane,
                fmt::format("shfl reads lane {}, which is not here", source));
    }
    value[lane] = a[source];
    found[lane] = to_cell(inside);
  });
  uint32_t* d = warp.cells<uint32_t>(instruction.operand[0]);
  for_each_lane(warp.mask(), [&](int lane) { d[lane] = value[lane]; });
  if (instruction.operand[1] == kNoSlot) return;
  uint32_t* p = warp.cells<uint32_t>(instruction.operand[1]);
  for_each_lane(warp.mask(), [&](int lane) { p[lane] = found[lane]; });
}

// Writes the same value to all lanes of the current mask.
void write_all(Warp& warp, Slot slot, uint32_t value) {
  write_lanes(warp.mask(), warp.cells<uint32_t>(slot), [value](int) { return value; });
}

// Operands: d, predicate, member mask. kResult(lanes that say yes, lanes that vote).
template <auto kResult>
void vote(Warp& warp, const Instruction& instruction) {
  check_members(warp, instruction.operand[2]);
  write_all(warp, instruction.operand[0],
            kResult(warp.predicate_mask(instruction.operand[1]) & warp.mask(), warp.mask()));
}

void active_mask(Warp& warp, const Instruction& instruction) {
  write_all(warp, instruction.operand[0], warp.mask());
}

template <class T>
void match_any(Warp& warp, const Instruction& instruction) {
  check_members(warp, instruction.operand[2]);
  const LaneCell<T>* a = warp.cells<T>(instruction.operand[1]);
  uint32_t equal[kWarpLanes] = {};
  for_each_lane(warp.mask(), [&](int lane) {
    for_each_lane(warp.mask(),
                  [&](int other) { equal[lane] |= a[lane] == a[other] ? 1u << other : 0; });
  });
  uint32_t* d = warp.cells<uint32_t>(instruction.operand[0]);
  for_each_lane(warp.mask(), [&](int lane) { d[lane] = equal[lane]; });
}

// Operands: d, a, member mask.
template <class T, auto kCombine>
void reduce(Warp& warp, const Instruction& instruction) {
  check_members(warp, instruction.operand[2]);
  const uint32_t* a = warp.cells<uint32_t>(instruction.operand[1]);
  const int first = first_lane(warp.mask());
  T result = static_cast<T>(a[first]);
  for_each_lane(warp.mask() & (warp.mask() - 1),
                [&](int lane) { result = kCombine(result, static_cast<T>(a[lane])); });
  write_all(warp, instruction.operand[0], static_cast<uint32_t>(result));
}

}  // namespace

void add_warp_opcodes(OpcodeTable& table) {
  table.add("shfl.sync.up.b32", {"wq=wwww", &shuffle_lanes<ShuffleMode::up>, 0});
  table.add("shfl.sync.down.b32", {"wq=wwww", &shuffle_lanes<ShuffleMode::down>, 0});
  table.add("shfl.sync.bfly.b32", {"wq=wwww", &shuffle_lanes<ShuffleMode::butterfly>, 0});
  table.add("shfl.sync.idx.b32", {"wq=wwww", &shuffle_lanes<ShuffleMode::index>, 0});
  table.add("vote.sync.ballot.b32", {"w=pw", &vote<[](uint32_t yes, uint32_t) { return yes; }>, 0});
  table.add("vote.sync.any.pred",
            {"p=pw", &vote<[](uint32_t yes, uint32_t) { return to_cell(yes != 0); }>, 0});
  table.add("vote.sync.all.pred",
            {"p=pw", &vote<[](uint32_t yes, uint32_t all) { return to_cell(yes == all); }>, 0});
  table.add("vote.sync.uni.pred",
            {"p=pw",
             &vote<[](uint32_t yes, uint32_t all) { return to_cell(yes == 0 || yes == all); }>, 0});
  table.add("activemask.b32", {"w=", &active_mask, 0});
  table.add("match.any.sync.b32", {"w=ww", &match_any<uint32_t>, 0});
  table.add("match.any.sync.b64", {"w=dw", &match_any<uint64_t>, 0});
  table.add("redux.sync.add.u32 redux.sync.add.s32",
            {"w=ww", &reduce<uint32_t, [](uint32_t a, uint32_t b) { return a + b; }>, 0});
  table.add("redux.sync.min.u32",
            {"w=ww", &reduce<uint32_t, [](uint32_t a, uint32_t b) { return std::min(a, b); }>, 0});
  table.add("redux.sync.max.u32",
            {"w=ww", &reduce<uint32_t, [](uint32_t a, uint32_t b) { return std::max(a, b); }>, 0});
  table.add("redux.sync.min.s32",
            {"w=ww", &reduce<int32_t, [](int32_t a, int32_t b) { return std::min(a, b); }>, 0});
  table.add("redux.sync.max.s32",
            {"w=ww", &reduce<int32_t, [](int32_t a, int32_t b) { return std::max(a, b); }>, 0});
  table.add("redux.sync.and.b32",
            {"w=ww", &reduce<uint32_t, [](uint32_t a, uint32_t b) { return a & b; }>, 0});
  table.add("redux.sync.or.b32",
            {"w=ww", &reduce<uint32_t, [](uint32_t a, uint32_t b) { return a | b; }>, 0});
  table.add("redux.sync.xor.b32",
            {"w=ww", &reduce<uint32_t, [](uint32_t a, uint32_t b) { return a ^ b; }>, 0});
}

}  // namespace nvfp4::emulator
