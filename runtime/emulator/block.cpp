// SPDX-License-Identifier: Apache-2.0
// Turns of the warps, barriers, registers, and where a fault happened.
#include "runtime/emulator/block.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <numeric>

#include "runtime/emulator/cluster.h"
#include "runtime/emulator/shuffled.h"

namespace nvfp4::emulator {
namespace {

// Instructions a warp runs in one turn. Long enough that its registers stay in the cache, short
// enough that a warp spinning on another's store lets that one run.
constexpr int64_t kTimeSlice = 4096;

int thread_count(const LaunchRequest& request) {
  return static_cast<int>(request.block[0] * request.block[1] * request.block[2]);
}

// The CTA's place in the grid: clusters are boxes of it.
std::array<uint32_t, 3> cta_position(const LaunchRequest& request, int64_t cluster, int rank) {
  const auto& size = request.cluster;
  const auto corner = unflatten(
      cluster, {request.grid[0] / size[0], request.grid[1] / size[1], request.grid[2] / size[2]});
  const auto within = unflatten(rank, size);
  return {corner[0] * size[0] + within[0], corner[1] * size[1] + within[1],
          corner[2] * size[2] + within[2]};
}

}  // namespace

int warp_count(const LaunchRequest& request) {
  return (thread_count(request) + kWarpLanes - 1) / kWarpLanes;
}

void Launch::report(Fault found) {
  const std::lock_guard lock(mutex);
  if (!fault) fault = std::move(found);
  stop = true;
}

Block::Block(Launch& launch, Cluster& cluster, int rank)
    : launch_(launch),
      cluster_(cluster),
      rank_(rank),
      function_(*launch.function),
      threads_(thread_count(*launch.request)),
      shared_bytes_(function_.dynamic_smem_offset + launch.request->dynamic_smem),
      shared_((shared_bytes_ + 15) / 16 * 16),
      local_(static_cast<size_t>(warp_count(*launch.request)) * kWarpLanes * function_.local_bytes),
      shadow_(shared_bytes_, function_.shared_cell, cluster.order(), warp_count(*launch.request)),
      mbarriers_(*this),
      warpgroups_((warp_count(*launch.request) + 3) / 4),
      warps_(warp_count(*launch.request)) {}

void Block::start(bool forget) {
  position_ = cta_position(request(), cluster_.number(), rank_);
  number_ = position_[0] +
            int64_t{request().grid[0]} * (position_[1] + int64_t{request().grid[1]} * position_[2]);
  past_grid_wait_ = false;
  live_warps_ = static_cast<int>(warps_.size());
  shadow_.start_block(forget);
  mbarriers_.clear();
  visits_.clear();
  free_registers_ = 0;
  barriers_.fill(Barrier{});
  for (Warpgroup& warpgroup : warpgroups_) warpgroup.reset();
  for (size_t w = 0; w < warps_.size(); ++w) {
    const int lanes = std::min(kWarpLanes, threads_ - static_cast<int>(w) * kWarpLanes);
    warps_[w].start(*this, function_, static_cast<int>(w), kAllLanes >> (kWarpLanes - lanes));
  }
  order_.resize(warps_.size());
  std::iota(order_.begin(), order_.end(), 0);
  if (request().seed != 0) shuffle(order_, request().seed ^ static_cast<uint64_t>(number_ + 1));
}

void Block::end_grid_wait() {
  past_grid_wait_ = true;
  for (Warp& warp : warps_) {
    if (warp.state() != WarpState::at_grid_wait) continue;
    warp.waited_for_grid = true;
    warp.wake();
  }
}

bool Block::run_turns() {
  bool moved = false;
  for (const int index : order_) {
    Warp& warp = warps_[index];
    if (warp.state() == WarpState::yielded) warp.wake();
    if (warp.state() != WarpState::ready) continue;
    running_ = index;
    moved = true;
    instructions_ += warp.run(kTimeSlice);
    if (instructions_ < kTimeSlice) continue;
    flush_counters();
    check_limit(warp);
    if (launch_.stop) return true;
  }
  return moved;
}

void Block::check_limit(Warp& warp) {
  const int64_t limit = request().max_warp_instructions;
  if (limit == 0 || launch_.warp_instructions <= limit) return;
  warp.fail(FaultKind::instruction_limit, warp.active() == 0 ? 0 : first_lane(warp.active()),
            fmt::format("the launch exceeds its limit of {} warp instructions", limit));
}

bool Block::time_out_waits() {
  bool any = false;
  for (Warp& warp : warps_) any |= warp.time_out();
  return any;
}

bool Block::any_warp_in(WarpState state) const {
  return std::any_of(warps_.begin(), warps_.end(),
                     [state](const Warp& warp) { return warp.state() == state; });
}

void Block::complete_cluster_barrier() {
  for (Warp& warp : warps_) {
    if (warp.cluster_barrier == ClusterBarrier::arrived)
      warp.cluster_barrier = ClusterBarrier::complete;
    if (warp.state() == WarpState::at_cluster_barrier) warp.wake();
  }
}

std::string Block::describe_waits(bool first, bool names_rank) {
  std::string text;
  for (const Warp& warp : warps_) {
    if (warp.state() == WarpState::done) continue;
    running_ = warp.index();
    text += fmt::format("{}{}warp {} at line {}", text.empty() && first ? "" : ", ",
                        names_rank ? fmt::format("CTA {} ", rank_) : "", warp.index(),
                        warp.current().line);
    if (warp.state() == WarpState::at_mbarrier) text += " for " + describe(*warp.awaited);
    if (warp.state() == WarpState::at_cluster_barrier) text += " for the cluster's barrier";
    if (warp.state() == WarpState::at_wgmma) text += " for the rest of its warpgroup";
    if (warp.state() == WarpState::at_registers) {
      text += fmt::format(" for registers: it has {} a thread, the CTA's pool {} left",
                          warp.registers, free_registers_);
    }
  }
  return text;
}

int Block::first_waiting_lane() const { return first_lane(warps_[running_].live()); }

int Block::wgmma_agent(const Warp& warp) const {
  return cluster_.order().warps() + rank_ * static_cast<int>(warpgroups_.size()) +
         warp.index() / Warpgroup::kWarps;
}

void Block::note_visit(const Visit& visit) {
  const size_t place = (size_t{visit.by.agent} * kWarpLanes + visit.by.lane) * 2 + visit.is_load;
  if (place >= visits_.size()) visits_.resize(place + 1);
  visits_[place] = visit;
}

// A load is over when its value is used; anything else when a release says so.
std::optional<Block::Visit> Block::unordered_visit() const {
  const HappensBefore& order = cluster_.order();
  for (const Visit& visit : visits_) {
    if (visit.by.stamp == 0) continue;
    const auto knows = [&](const Warp& warp) {
      for (int lane = 0; lane < kWarpLanes; ++lane) {
        if (visit.is_load ? order.done(warp.agent(), lane, visit.by)
                          : order.ordered(warp.agent(), lane, visit.by))
          return true;
      }
      return false;
    };
    if (std::none_of(warps_.begin(), warps_.end(), knows)) return visit;
  }
  return std::nullopt;
}

void Block::release_registers(Warp& warp, int count) {
  free_registers_ += (warp.registers - count) * kWarpLanes;
  warp.registers = count;
  cluster_.progress();
  for (Warp& other : warps_) {
    if (other.state() == WarpState::at_registers) other.wake();
  }
}

bool Block::take_registers(Warp& warp, int count) {
  const int wanted = (count - warp.registers) * kWarpLanes;
  if (wanted > free_registers_) return false;
  free_registers_ -= wanted;
  warp.registers = count;
  return true;
}

void Block::arrive(Warp& warp, const Arrival& arrival) {
  const int lane = first_lane(warp.mask());
  if (arrival.id < 0 || arrival.id >= kBarriers) {
    warp.fail(FaultKind::barrier_divergence, lane,
              fmt::format("barrier {} is not one of 0 .. 15", arrival.id));
  }
  if (arrival.threads % kWarpLanes != 0) {
    warp.fail(FaultKind::barrier_divergence, lane,
              fmt::format("barrier {} for {} threads, not a multiple of {}", arrival.id,
                          arrival.threads, kWarpLanes));
  }
  if (warp.mask() != warp.live()) {
    warp.fail(FaultKind::barrier_divergence, first_lane(warp.live() & ~warp.mask()),
              fmt::format("barrier {} is reached by a part of the warp (lanes {:#010x} of "
                          "{:#010x}), without this thread",
                          arrival.id, warp.mask(), warp.live()));
  }
  Barrier& barrier = barriers_[arrival.id];
  if (barrier.arrived == 0) {
    barrier.expected = arrival.threads;
    barrier.reduction = arrival.reduction;
  } else if (barrier.expected != arrival.threads || barrier.reduction != arrival.reduction) {
    warp.fail(
        FaultKind::barrier_divergence, lane,
        fmt::format(
            "barrier {} for {} threads, but those who came before expect {}, or another operation",
            arrival.id, arrival.threads, barrier.expected));
  }
  ++barrier.arrived;
  barrier.true_count += std::popcount(arrival.lanes);
  barrier.all_count += std::popcount(warp.live());
  barrier.waited_for_grid |= warp.waited_for_grid;
  cluster_.order().publish(warp.agent(), warp.live(), warp.live(), barrier.knowledge);
  if (arrival.waits) {
    barrier.waiting.emplace_back(warp.index(), arrival.destination);
    warp.block_in(WarpState::at_barrier);
  }
  if (barrier.expected != 0 && barrier.arrived * kWarpLanes > static_cast<int>(barrier.expected)) {
    warp.fail(FaultKind::barrier_divergence, lane,
              fmt::format("barrier {} gets {} threads but expects {}", arrival.id,
                          barrier.arrived * kWarpLanes, barrier.expected));
  }
  try_complete(barrier);
}

void Block::try_complete(Barrier& barrier) {
  const int needed =
      barrier.expected == 0 ? live_warps_ : static_cast<int>(barrier.expected) / kWarpLanes;
  if (barrier.arrived == 0 || barrier.arrived < needed) return;
  for (const auto& [index, destination] : barrier.waiting) {
    Warp& warp = warps_[index];
    warp.wake();
    warp.waited_for_grid |= barrier.waited_for_grid;
    cluster_.order().acquire(warp.agent(), warp.live(), warp.live(), barrier.knowledge);
    if (destination == kNoSlot) continue;
    uint32_t value = barrier.true_count;
    if (barrier.reduction == BarrierReduction::all)
      value = to_cell(barrier.true_count == barrier.all_count);
    if (barrier.reduction == BarrierReduction::any) value = to_cell(barrier.true_count != 0);
    for_each_lane(warp.live(), [&](int lane) { warp.cells<uint32_t>(destination)[lane] = value; });
  }
  barrier = Barrier{};
  cluster_.progress();
}

void Block::warp_ended(Warp& warp) {
  --live_warps_;
  const auto waited = [](const Warp& w) { return w.waited_for_grid; };
  if (live_warps_ == 0 && function_.info.waits_for_grid &&
      std::none_of(warps_.begin(), warps_.end(), waited)) {
    warp.fail(FaultKind::missing_grid_wait, 0,
              "the block ends without griddepcontrol.wait, so the next kernel may overtake the "
              "previous one");
  }
  for (Barrier& barrier : barriers_) {
    if (barrier.expected == 0) try_complete(barrier);
  }
  cluster_.warp_ended();
  cluster_.progress();
  if (live_warps_ > 0) return;
  const std::string complaint = mbarriers_.complaint_at_end();
  if (!complaint.empty()) warp.fail(FaultKind::mbarrier_misuse, 0, complaint);
}

std::array<uint32_t, 3> Block::thread_position(int warp, int lane) const {
  return unflatten(warp * kWarpLanes + lane, request().block);
}

Fault Block::located(const Violation& violation) const {
  const Warp& warp = warps_[running_];
  const auto thread = thread_position(warp.index(), violation.lane);
  return {violation.kind,
          fmt::format("kernel {}, PTX line {}, block ({},{},{}) thread ({},{},{}): {}",
                      function_.info.name, warp.current().line, position_[0], position_[1],
                      position_[2], thread[0], thread[1], thread[2], violation.text)};
}

void Block::flush_counters() {
  launch_.warp_instructions += instructions_;
  launch_.bytes_read += bytes_read_;
  launch_.bytes_written += bytes_written_;
  clock_ += static_cast<uint64_t>(instructions_);
  instructions_ = bytes_read_ = bytes_written_ = 0;
}

}  // namespace nvfp4::emulator
