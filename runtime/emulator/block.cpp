// SPDX-License-Identifier: Apache-2.0
// Turns of the warps, barriers, and where a fault happened.
#include "runtime/emulator/block.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <numeric>

#include "runtime/emulator/shuffled.h"

namespace nvfp4::emulator {
namespace {

// Instructions a warp runs in one turn. Long enough that its registers stay in the cache, short
// enough that a warp spinning on another's store lets that one run.
constexpr int64_t kTimeSlice = 4096;

std::array<uint32_t, 3> unflatten(int64_t number, const std::array<unsigned, 3>& extent) {
  return {static_cast<uint32_t>(number % extent[0]),
          static_cast<uint32_t>(number / extent[0] % extent[1]),
          static_cast<uint32_t>(number / extent[0] / extent[1])};
}

int thread_count(const LaunchRequest& request) {
  return static_cast<int>(request.block[0] * request.block[1] * request.block[2]);
}

int warp_count(const LaunchRequest& request) {
  return (thread_count(request) + kWarpLanes - 1) / kWarpLanes;
}

}  // namespace

void Launch::report(Fault found) {
  const std::lock_guard lock(mutex);
  if (!fault) fault = std::move(found);
  stop = true;
}

Block::Block(Launch& launch)
    : launch_(launch),
      function_(*launch.function),
      threads_(thread_count(*launch.request)),
      shared_bytes_(function_.dynamic_smem_offset + launch.request->dynamic_smem),
      shared_((shared_bytes_ + 15) / 16 * 16),
      local_(static_cast<size_t>(warp_count(*launch.request)) * kWarpLanes * function_.local_bytes),
      shadow_(shared_bytes_, function_.shared_cell, warp_count(*launch.request)),
      warps_(warp_count(*launch.request)) {}

void Block::start(int64_t number) {
  number_ = number;
  position_ = unflatten(number, request().grid);
  past_grid_wait_ = false;
  live_warps_ = static_cast<int>(warps_.size());
  shadow_.start_block();
  barriers_.fill(Barrier{});
  for (size_t w = 0; w < warps_.size(); ++w) {
    const int lanes = std::min(kWarpLanes, threads_ - static_cast<int>(w) * kWarpLanes);
    warps_[w].start(*this, function_, static_cast<int>(w), kAllLanes >> (kWarpLanes - lanes));
  }
  order_.resize(warps_.size());
  std::iota(order_.begin(), order_.end(), 0);
  if (request().seed != 0) shuffle(order_, request().seed ^ static_cast<uint64_t>(number + 1));
}

bool Block::run(bool past_grid_wait) {
  past_grid_wait_ = past_grid_wait;
  if (past_grid_wait) {
    for (Warp& warp : warps_) {
      if (warp.state() != WarpState::at_grid_wait) continue;
      warp.waited_for_grid = true;
      warp.wake();
    }
  }
  bool paused = false;
  try {
    while (live_warps_ > 0 && !launch_.stop && run_round()) {
    }
    paused = live_warps_ > 0 && !launch_.stop;
  } catch (const Violation& violation) {
    launch_.report(located(violation, warps_[running_]));
  }
  flush_counters();
  return !paused;
}

// One turn of each warp; false when every warp that is left waits for the grid before it.
bool Block::run_round() {
  bool progress = false;
  for (const int index : order_) {
    Warp& warp = warps_[index];
    if (warp.state() != WarpState::ready) continue;
    running_ = index;
    progress = true;
    instructions_ += warp.run(kTimeSlice);
    if (instructions_ < kTimeSlice) continue;
    flush_counters();
    const int64_t limit = request().max_warp_instructions;
    if (limit > 0 && launch_.warp_instructions > limit) {
      warp.fail(FaultKind::instruction_limit, warp.active() == 0 ? 0 : first_lane(warp.active()),
                fmt::format("the launch exceeds its limit of {} warp instructions", limit));
    }
    if (launch_.stop) return true;
  }
  if (progress) return true;
  const auto waits_for_grid = [](const Warp& warp) {
    return warp.state() == WarpState::at_grid_wait;
  };
  if (std::any_of(warps_.begin(), warps_.end(), waits_for_grid)) return false;
  report_deadlock();
}

void Block::report_deadlock() {
  std::string waiting;
  for (const Warp& warp : warps_) {
    if (warp.state() != WarpState::at_barrier) continue;
    running_ = warp.index();
    waiting += fmt::format("{}warp {} at line {}", waiting.empty() ? "" : ", ", warp.index(),
                           warp.current().line);
  }
  throw Violation{
      FaultKind::deadlock, first_lane(warps_[running_].live()),
      fmt::format("deadlock: every warp that is left waits at a barrier ({})", waiting)};
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
  shadow_.publish(warp.index(), barrier.clock);
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
    shadow_.acquire(index, barrier.clock);
    if (destination == kNoSlot) continue;
    uint32_t value = barrier.true_count;
    if (barrier.reduction == BarrierReduction::all)
      value = to_cell(barrier.true_count == barrier.all_count);
    if (barrier.reduction == BarrierReduction::any) value = to_cell(barrier.true_count != 0);
    for_each_lane(warp.live(), [&](int lane) { warp.cells<uint32_t>(destination)[lane] = value; });
  }
  barrier = Barrier{};
}

void Block::warp_ended(const Warp& warp) {
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
}

uint32_t Block::special(Special special, int warp, int lane) const {
  const auto thread = thread_position(warp, lane);
  const auto& grid = request().grid;
  const auto& block = request().block;
  switch (special) {
    case Special::tid_x:
      return thread[0];
    case Special::tid_y:
      return thread[1];
    case Special::tid_z:
      return thread[2];
    case Special::ntid_x:
      return block[0];
    case Special::ntid_y:
      return block[1];
    case Special::ntid_z:
      return block[2];
    case Special::ctaid_x:
      return position_[0];
    case Special::ctaid_y:
      return position_[1];
    case Special::ctaid_z:
      return position_[2];
    case Special::nctaid_x:
      return grid[0];
    case Special::nctaid_y:
      return grid[1];
    case Special::nctaid_z:
      return grid[2];
    case Special::laneid:
      return lane;
    case Special::warpid:
      return warp;
    case Special::nwarpid:
      return static_cast<uint32_t>(warps_.size());
    case Special::smid:
      return static_cast<uint32_t>(number_ % std::max(1, request().sm_count));
    case Special::nsmid:
      return request().sm_count;
    case Special::gridid:
      return 1;
    case Special::lanemask_eq:
      return 1u << lane;
    case Special::lanemask_lt:
      return (1u << lane) - 1;
    case Special::lanemask_le:
      return (2u << lane) - 1;
    case Special::lanemask_gt:
      return ~((2u << lane) - 1);
    case Special::lanemask_ge:
      return ~((1u << lane) - 1);
    case Special::dynamic_smem_size:
      return request().dynamic_smem;
    case Special::total_smem_size:
      return static_cast<uint32_t>(shared_bytes_);
    case Special::variable:
      break;
  }
  return 0;
}

std::array<uint32_t, 3> Block::thread_position(int warp, int lane) const {
  return unflatten(warp * kWarpLanes + lane, request().block);
}

Fault Block::located(const Violation& violation, const Warp& warp) const {
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
