// SPDX-License-Identifier: Apache-2.0
// The mbarrier instructions, lane by lane. A wait that would fail puts its warp to sleep until the
// phase ends, and then runs again.
#include <fmt/format.h>

#include <array>

#include "runtime/emulator/cluster.h"
#include "runtime/emulator/memory_access.h"
#include "runtime/emulator/opcode_table.h"

namespace nvfp4::emulator {
namespace {

// Flags of an instruction.
constexpr uint8_t kGeneric = 1;
constexpr uint8_t kCluster = 2;
constexpr uint8_t kRelaxed = 4;

constexpr size_t kBytes = 8;

struct Named {
  Mbarrier* barrier;
  Mbarriers* owner;
};

uint64_t address_of(Warp& warp, const Instruction& instruction, int lane, uint64_t address) {
  return instruction.flags & kGeneric ? shared_address(warp, lane, address) : address;
}

Named find(Warp& warp, const Instruction& instruction, int lane, uint64_t address) {
  address = address_of(warp, instruction, lane, address);
  if ((instruction.flags & (kCluster | kGeneric)) == 0) {
    Mbarriers& own = warp.block().mbarriers();
    return {&own.find(warp, lane, address), &own};
  }
  const SharedPlace place =
      cluster_place(warp, lane, address, kBytes, "uses an mbarrier of", PeerAccess::other);
  Mbarriers& owner = place.block->mbarriers();
  return {&owner.find(warp, lane, place.offset), &owner};
}

void init(Warp& warp, const Instruction& instruction) {
  const LaneAddresses address = lane_addresses(warp, instruction, 0, instruction.immediate);
  const uint32_t* count = warp.cells<uint32_t>(instruction.operand[1]);
  for_each_lane(warp.mask(), [&](int lane) {
    warp.block().mbarriers().init(warp, lane, address_of(warp, instruction, lane, address[lane]),
                                  count[lane]);
  });
}

void invalidate(Warp& warp, const Instruction& instruction) {
  const LaneAddresses address = lane_addresses(warp, instruction, 0, instruction.immediate);
  for_each_lane(warp.mask(), [&](int lane) {
    warp.block().mbarriers().invalidate(warp, lane,
                                        address_of(warp, instruction, lane, address[lane]));
  });
}

void fence_inits(Warp& warp, const Instruction&) {
  warp.block().cluster().order().fence_inits(warp.agent());
}

// Operands: state, address, count or none (kExpects: bytes). The state is the phase.
template <bool kExpects>
void arrive(Warp& warp, const Instruction& instruction) {
  const LaneAddresses address = lane_addresses(warp, instruction, 1, instruction.immediate);
  const Slot slot = instruction.operand[2];
  const uint32_t* value = slot == kNoSlot ? nullptr : warp.cells<uint32_t>(slot);
  uint64_t* state = warp.cells<uint64_t>(instruction.operand[0]);
  std::array<Named, kWarpLanes> named;
  for_each_lane(warp.mask(),
                [&](int lane) { named[lane] = find(warp, instruction, lane, address[lane]); });
  HappensBefore& order = warp.block().cluster().order();
  for (uint32_t left = warp.mask(); left != 0;) {
    const Named at = named[first_lane(left)];
    uint32_t lanes = 0;
    for_each_lane(left,
                  [&](int lane) { lanes |= named[lane].barrier == at.barrier ? 1u << lane : 0; });
    left &= ~lanes;
    HappensBefore::Knowledge released;
    if ((instruction.flags & kRelaxed) == 0)
      order.publish(warp.agent(), lanes, warp.live(), released);
    for_each_lane(lanes, [&](int lane) {
      state[lane] = at.barrier->phase;
      at.barrier->arriving.join(released);
      at.barrier->waited_for_grid |= warp.waited_for_grid;
      if (kExpects) at.owner->expect(warp, lane, *at.barrier, value[lane]);
      at.owner->arrive(warp, lane, *at.barrier, kExpects || value == nullptr ? 1 : value[lane]);
    });
  }
}

// Operands: address, bytes.
template <bool kCompletes>
void count_bytes(Warp& warp, const Instruction& instruction) {
  const LaneAddresses address = lane_addresses(warp, instruction, 0, instruction.immediate);
  const uint32_t* bytes = warp.cells<uint32_t>(instruction.operand[1]);
  for_each_lane(warp.mask(), [&](int lane) {
    const Named at = find(warp, instruction, lane, address[lane]);
    kCompletes ? at.owner->complete(warp, lane, *at.barrier, bytes[lane])
               : at.owner->expect(warp, lane, *at.barrier, bytes[lane]);
  });
}

struct Answers {
  uint32_t done = 0;  ///< lanes whose phase is over
  std::array<Mbarrier*, kWarpLanes> barrier;
};

template <bool kParity>
Answers ask(Warp& warp, const Instruction& instruction) {
  const LaneAddresses address = lane_addresses(warp, instruction, 1, instruction.immediate);
  Answers answers;
  for_each_lane(warp.mask(), [&](int lane) {
    Mbarriers& own = warp.block().mbarriers();
    Mbarrier& barrier = own.find(warp, lane, address_of(warp, instruction, lane, address[lane]));
    const Slot slot = instruction.operand[2];
    const bool over = kParity
                          ? own.test_parity(warp, lane, barrier, warp.cells<uint32_t>(slot)[lane])
                          : own.test_phase(warp, lane, barrier,
                                           static_cast<uint32_t>(warp.cells<uint64_t>(slot)[lane]));
    answers.barrier[lane] = &barrier;
    answers.done |= over ? 1u << lane : 0;
  });
  return answers;
}

// Operands: predicate, address, parity or state, time limit or none.
template <bool kParity, bool kBlocks>
void wait(Warp& warp, const Instruction& instruction) {
  const Answers answers = ask<kParity>(warp, instruction);
  if (kBlocks && answers.done == 0 && !warp.timed_out) {
    warp.awaited = answers.barrier[first_lane(warp.mask())];
    warp.awaited->waiting.push_back(&warp);
    return warp.retry_in(WarpState::at_mbarrier);
  }
  warp.timed_out = false;
  write_lanes(warp.mask(), warp.cells<uint32_t>(instruction.operand[0]),
              [&](int lane) { return to_cell((answers.done >> lane & 1) != 0); });
  if (answers.done != warp.mask()) warp.block_in(WarpState::yielded);
  if ((instruction.flags & kRelaxed) != 0) return;
  for (uint32_t left = answers.done; left != 0;) {
    Mbarrier* const barrier = answers.barrier[first_lane(left)];
    uint32_t lanes = 0;
    for_each_lane(left,
                  [&](int lane) { lanes |= answers.barrier[lane] == barrier ? 1u << lane : 0; });
    left &= ~lanes;
    warp.block().mbarriers().observe(warp, lanes, *barrier);
  }
}

struct Form {
  std::string modifiers;
  uint8_t flags;
};

// Every spelling of order, scope and space: "" or ".release.cta", then "" or ".shared::cta".
std::vector<Form> forms(const char* order, bool reaches_peers) {
  std::vector<Form> list;
  for (const auto& [sem, relaxed] : {std::pair<std::string, uint8_t>{"", 0},
                                     {fmt::format(".{}.cta", order), 0},
                                     {fmt::format(".{}.cluster", order), 0},
                                     {".relaxed.cta", kRelaxed},
                                     {".relaxed.cluster", kRelaxed}}) {
    list.push_back({sem, static_cast<uint8_t>(relaxed | kGeneric)});
    list.push_back({sem + ".shared", relaxed});
    list.push_back({sem + ".shared::cta", relaxed});
    if (reaches_peers)
      list.push_back({sem + ".shared::cluster", static_cast<uint8_t>(relaxed | kCluster)});
  }
  return list;
}

}  // namespace

void add_mbarrier_opcodes(OpcodeTable& table) {
  for (const auto& [space, flags] :
       {std::pair<const char*, uint8_t>{"", kGeneric}, {".shared", 0}, {".shared::cta", 0}}) {
    table.add(fmt::format("mbarrier.init{}.b64", space), {"=aw", &init, flags});
    table.add(fmt::format("mbarrier.inval{}.b64", space), {"=a", &invalidate, flags});
  }
  for (const Form& form : forms("release", true)) {
    const auto name = [&](const char* what) {
      return fmt::format("mbarrier.{}{}.b64", what, form.modifiers);
    };
    table.add(name("arrive"), {"d=ao", &arrive<false>, form.flags});
    table.add(name("arrive.expect_tx"), {"d=aw", &arrive<true>, form.flags});
    if (form.modifiers.starts_with(".release")) continue;
    table.add(name("expect_tx"), {"=aw", &count_bytes<false>, form.flags});
    table.add(name("complete_tx"), {"=aw", &count_bytes<true>, form.flags});
  }
  for (const Form& form : forms("acquire", false)) {
    const auto name = [&](const char* what) {
      return fmt::format("mbarrier.{}{}.b64", what, form.modifiers);
    };
    table.add(name("test_wait"), {"p=ad", &wait<false, false>, form.flags});
    table.add(name("test_wait.parity"), {"p=aw", &wait<true, false>, form.flags});
    table.add(name("try_wait"), {"p=ado", &wait<false, true>, form.flags});
    table.add(name("try_wait.parity"), {"p=awo", &wait<true, true>, form.flags});
  }
  table.add("fence.mbarrier_init.release.cluster", {"=", &fence_inits, 0});
}

}  // namespace nvfp4::emulator
