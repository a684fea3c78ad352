// SPDX-License-Identifier: Apache-2.0
// What came with sm_90 besides copies and mbarriers: the cluster's barrier and addresses,
// elect.sync, setmaxnreg and proxy fences.
#include <fmt/format.h>

#include "runtime/emulator/cluster.h"
#include "runtime/emulator/member_mask.h"
#include "runtime/emulator/memory_access.h"
#include "runtime/emulator/opcode_table.h"

namespace nvfp4::emulator {
namespace {

// barrier.cluster counts threads; here a warp arrives as one, so a part of it cannot.
void require_living(Warp& warp) {
  if (warp.mask() == warp.live()) return;
  warp.fail(FaultKind::barrier_divergence, first_lane(warp.live() & ~warp.mask()),
            fmt::format("the cluster's barrier is reached by a part of the warp (lanes {:#010x} of "
                        "{:#010x}), without this thread",
                        warp.mask(), warp.live()));
}

template <bool kReleases>
void cluster_arrive(Warp& warp, const Instruction&) {
  require_living(warp);
  if (warp.cluster_barrier != ClusterBarrier::idle) {
    warp.fail(FaultKind::barrier_divergence, first_lane(warp.mask()),
              "arrives at the cluster's barrier again, without having waited");
  }
  warp.block().cluster().arrive(warp, kReleases);
}

template <bool kAcquires>
void cluster_wait(Warp& warp, const Instruction&) {
  require_living(warp);
  if (warp.cluster_barrier == ClusterBarrier::idle) {
    warp.fail(FaultKind::barrier_divergence, first_lane(warp.mask()),
              "waits at the cluster's barrier without having arrived");
  }
  warp.block().cluster().wait(warp, kAcquires);
}

void check_rank(Warp& warp, int lane, uint32_t rank) {
  const int size = warp.block().cluster().size();
  if (rank < static_cast<uint32_t>(size)) return;
  warp.fail(FaultKind::illegal_address, lane,
            fmt::format("mapa names CTA {} of a cluster of {}", rank, size));
}

uint64_t map_address(uint64_t address, uint32_t rank) {
  return (address & ~((uint64_t{1} << kWindowShift) - 1)) | (uint64_t{rank} + 1) << kRankShift |
         (address & kRankOffset);
}

// Operands: d, address, rank.
template <class T>
void map_to_peer(Warp& warp, const Instruction& instruction) {
  const uint32_t* rank = warp.cells<uint32_t>(instruction.operand[2]);
  for_each_lane(warp.mask(), [&](int lane) { check_rank(warp, lane, rank[lane]); });
  const T* address = warp.cells<T>(instruction.operand[1]);
  write_lanes(warp.mask(), warp.cells<T>(instruction.operand[0]),
              [&](int lane) { return static_cast<T>(map_address(address[lane], rank[lane])); });
}

template <class T>
void rank_of_address(Warp& warp, const Instruction& instruction) {
  const T* address = warp.cells<T>(instruction.operand[1]);
  const auto own = static_cast<uint32_t>(warp.block().rank());
  write_lanes(warp.mask(), warp.cells<uint32_t>(instruction.operand[0]), [&](int lane) {
    const auto rank = static_cast<uint32_t>(address[lane] >> kRankShift & 0xff);
    return rank == 0 ? own : rank - 1;
  });
}

// Operands: leader's lane, predicate or none, member mask. The lowest lane of the mask leads.
void elect(Warp& warp, const Instruction& instruction) {
  check_members(warp, instruction.operand[2]);
  const uint32_t* members = warp.cells<uint32_t>(instruction.operand[2]);
  const int leader = first_lane(members[first_lane(warp.mask())] & warp.mask());
  write_lanes(warp.mask(), warp.cells<uint32_t>(instruction.operand[0]),
              [leader](int) { return static_cast<uint32_t>(leader); });
  if (instruction.operand[1] == kNoSlot) return;
  write_lanes(warp.mask(), warp.cells<uint32_t>(instruction.operand[1]),
              [leader](int lane) { return to_cell(lane == leader); });
}

// Operands: registers a thread shall have, a constant. The CTA's pool is what the launch gave it.
template <bool kTakes>
void set_registers(Warp& warp, const Instruction& instruction) {
  const auto fail = [&](std::string text) {
    warp.fail(FaultKind::register_pool, first_lane(warp.mask()), std::move(text));
  };
  const int count = static_cast<int>(warp.cells<uint32_t>(instruction.operand[0])[0]);
  if (count < 24 || count > 256 || count % 8 != 0)
    fail(fmt::format("setmaxnreg {}, which is not a multiple of 8 in 24 .. 256", count));
  if (warp.mask() != kAllLanes) fail("setmaxnreg by a part of a warp");
  if (kTakes && count <= warp.registers) return;
  if (!kTakes && count > warp.registers) {
    fail(fmt::format("setmaxnreg.dec to {} registers by a thread that has {}", count,
                     warp.registers));
  }
  if (!kTakes) return warp.block().release_registers(warp, count);
  const int pool = warp.function().info.registers * warp.block().warps() * kWarpLanes;
  if (count * 4 * kWarpLanes > pool) {
    fail(fmt::format("setmaxnreg.inc to {} registers for a warpgroup exceeds the CTA's pool of {}",
                     count, pool));
  }
  if (!warp.block().take_registers(warp, count)) warp.retry_in(WarpState::at_registers);
}

void fence_proxy(Warp& warp, const Instruction&) {
  warp.block().cluster().order().fence_proxy(warp.agent(), warp.mask(), warp.live());
}

// createpolicy: caches are not modelled, so a policy is any number.
void create_policy(Warp& warp, const Instruction& instruction) {
  write_lanes(warp.mask(), warp.cells<uint64_t>(instruction.operand[0]),
              [](int) { return uint64_t{0}; });
}

}  // namespace

void add_cluster_opcodes(OpcodeTable& table) {
  for (const char* aligned : {"", ".aligned"}) {
    for (const char* order : {"", ".release"})
      table.add(fmt::format("barrier.cluster.arrive{}{}", order, aligned),
                {"=", &cluster_arrive<true>, 0});
    table.add(fmt::format("barrier.cluster.arrive.relaxed{}", aligned),
              {"=", &cluster_arrive<false>, 0});
    for (const char* order : {"", ".acquire"})
      table.add(fmt::format("barrier.cluster.wait{}{}", order, aligned),
                {"=", &cluster_wait<true>, 0});
  }
  table.add("mapa.u32 mapa.shared::cluster.u32", {"w=ww", &map_to_peer<uint32_t>, 0});
  table.add("mapa.u64 mapa.shared::cluster.u64", {"d=dw", &map_to_peer<uint64_t>, 0});
  table.add("getctarank.u32 getctarank.shared::cluster.u32",
            {"w=w", &rank_of_address<uint32_t>, 0});
  table.add("getctarank.u64 getctarank.shared::cluster.u64",
            {"w=d", &rank_of_address<uint64_t>, 0});
  table.add("elect.sync", {"wq=w", &elect, 0});
  table.add("setmaxnreg.inc.sync.aligned.u32", {"=w", &set_registers<true>, 0});
  table.add("setmaxnreg.dec.sync.aligned.u32", {"=w", &set_registers<false>, 0});
  table.add(
      "fence.proxy.async fence.proxy.async.global fence.proxy.async.shared::cta "
      "fence.proxy.async.shared::cluster",
      {"=", &fence_proxy, 0});
  for (const char* priority : {"evict_first", "evict_last", "evict_normal", "evict_unchanged"}) {
    table.add(fmt::format("createpolicy.fractional.L2::{}.b64", priority),
              {"d=o", &create_policy, 0});
  }
}

}  // namespace nvfp4::emulator
