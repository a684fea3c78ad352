// SPDX-License-Identifier: Apache-2.0
#include "runtime/emulator/cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "runtime/emulator/shuffled.h"

namespace nvfp4::emulator {
namespace {

int cluster_ctas(const LaunchRequest& request) {
  return static_cast<int>(request.cluster[0] * request.cluster[1] * request.cluster[2]);
}

}  // namespace

Cluster::Cluster(Launch& launch)
    : launch_(launch),
      order_(cluster_ctas(*launch.request) * warp_count(*launch.request),
             cluster_ctas(*launch.request) *
                 ((warp_count(*launch.request) + Warpgroup::kWarps - 1) / Warpgroup::kWarps)) {
  for (int rank = 0; rank < cluster_ctas(*launch.request); ++rank)
    blocks_.push_back(std::make_unique<Block>(launch, *this, rank));
  turns_.resize(blocks_.size());
}

void Cluster::start(int64_t number) {
  number_ = number;
  stalled_ = false;
  arrived_ = 0;
  arriving_waited_ = completed_waited_ = false;
  arriving_ = completed_ = {};
  const bool forget = order_.start();
  for (auto& block : blocks_) block->start(forget);
  std::iota(turns_.begin(), turns_.end(), 0);
  const uint64_t seed = launch_.request->seed;
  if (seed != 0) shuffle(turns_, seed ^ static_cast<uint64_t>(number + 1));
}

bool Cluster::run(bool past_grid_wait) {
  if (past_grid_wait) {
    for (auto& block : blocks_) block->end_grid_wait();
  }
  const auto live = [this] {
    return std::any_of(blocks_.begin(), blocks_.end(), [](const auto& b) { return !b->ended(); });
  };
  bool paused = false;
  try {
    while (live() && !launch_.stop && run_round()) {
    }
    paused = live() && !launch_.stop;
  } catch (const Violation& violation) {
    launch_.report(blocks_[running_]->located(violation));
  }
  for (auto& block : blocks_) block->flush_counters();
  return !paused;
}

// One turn of each warp; false when every warp that is left waits for the grid before it.
bool Cluster::run_round() {
  bool moved = false;
  for (const int rank : turns_) {
    running_ = rank;
    Block& block = *blocks_[rank];
    if (block.ended()) continue;
    moved |= block.run_turns();
    if (launch_.stop) return true;
    if (block.ended()) check_ended(block);
  }
  if (moved) return true;
  for (const auto& block : blocks_) {
    if (block->any_warp_in(WarpState::at_grid_wait)) return false;
  }
  // mbarrier.try_wait may give up: a warp that then does something else is not in a deadlock.
  if (!stalled_ && wake_waiting()) {
    stalled_ = true;
    return true;
  }
  report_deadlock();
}

bool Cluster::wake_waiting() {
  bool any = false;
  for (auto& block : blocks_) any |= block->time_out_waits();
  return any;
}

void Cluster::report_deadlock() {
  std::string waiting;
  for (const auto& block : blocks_) waiting += block->describe_waits(waiting.empty(), size() > 1);
  for (running_ = 0; blocks_[running_]->ended();) ++running_;
  throw Violation{FaultKind::deadlock, blocks_[running_]->first_waiting_lane(),
                  fmt::format("deadlock: every warp that is left waits ({})", waiting)};
}

Block& Cluster::peer(Warp& warp, int lane, uint32_t rank, PeerAccess access) {
  if (rank >= blocks_.size()) {
    warp.fail(FaultKind::illegal_address, lane,
              fmt::format("names CTA {} of a cluster of {}", rank, blocks_.size()));
  }
  Block& block = *blocks_[rank];
  if (&block == &warp.block()) return block;
  if (block.ended()) {
    warp.fail(
        FaultKind::peer_ended, lane,
        fmt::format("reaches into the shared memory of CTA {} of the cluster, which has ended",
                    rank));
  }
  if (access == PeerAccess::copy) return block;
  const Access by{order_.now(warp.agent()), static_cast<uint16_t>(warp.agent()),
                  static_cast<uint8_t>(lane)};
  block.note_visit({by, warp.current().line, access == PeerAccess::load});
  return block;
}

// A CTA's shared memory is gone when it ends: what its peers did there must come before.
void Cluster::check_ended(Block& block) {
  const std::optional<Block::Visit> visit = block.unordered_visit();
  if (!visit) return;
  throw Violation{
      FaultKind::peer_ended, 0,
      fmt::format("the CTA ends, and nothing orders that behind the access to its shared memory at "
                  "PTX line {} by {}",
                  visit->line, block.shadow().thread_name(visit->by.agent, visit->by.lane))};
}

void Cluster::arrive(Warp& warp, bool releases) {
  if (releases) {
    order_.publish(warp.agent(), warp.live(), warp.live(), arriving_);
  } else {
    order_.publish_relaxed(warp.agent(), arriving_);
  }
  warp.cluster_barrier = ClusterBarrier::arrived;
  arriving_waited_ |= warp.waited_for_grid;
  ++arrived_;
  complete_barrier();
}

void Cluster::wait(Warp& warp, bool acquires) {
  if (warp.cluster_barrier == ClusterBarrier::arrived)
    return warp.retry_in(WarpState::at_cluster_barrier);
  warp.cluster_barrier = ClusterBarrier::idle;
  warp.waited_for_grid |= completed_waited_;
  if (acquires) order_.acquire(warp.agent(), warp.live(), warp.live(), completed_);
}

void Cluster::warp_ended() { complete_barrier(); }

void Cluster::complete_barrier() {
  int live = 0;
  for (const auto& block : blocks_) live += block->live_warps();
  if (arrived_ == 0 || arrived_ < live) return;
  arrived_ = 0;
  completed_waited_ = std::exchange(arriving_waited_, false);
  completed_ = std::move(arriving_);
  arriving_ = {};
  for (auto& block : blocks_) block->complete_cluster_barrier();
  progress();
}

}  // namespace nvfp4::emulator
