// SPDX-License-Identifier: Apache-2.0
// The CTAs of one cluster, run together on one host thread: turns of their warps, the cluster's
// barrier, access to each other's shared memory, and what happens when nothing moves any more. A
// launch without clusters has clusters of one CTA. Built once and then started for one cluster
// after the other.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/emulator/block.h"
#include "runtime/emulator/happens_before.h"

namespace nvfp4::emulator {

class Cluster {
 public:
  explicit Cluster(Launch& launch);

  void start(int64_t number);  ///< the cluster's linear number in the grid

  /// Runs until all CTAs end or, unless `past_grid_wait`, until every warp waits for the grid
  /// before it. True when they ended. A fault goes to the launch and counts as an end.
  bool run(bool past_grid_wait);

  // For instructions.
  HappensBefore& order() { return order_; }
  int size() const { return static_cast<int>(blocks_.size()); }
  Block& block(int rank) { return *blocks_[rank]; }
  int64_t number() const { return number_; }

  /// The CTA of `rank`, which `warp` is about to access; a fault when it does not exist or has
  /// ended. The access must come before that CTA's end.
  Block& peer(Warp& warp, int lane, uint32_t rank, PeerAccess access);

  /// barrier.cluster: all warps of all CTAs that have not ended.
  void arrive(Warp& warp, bool releases);
  void wait(Warp& warp, bool acquires);
  void warp_ended();

  /// Something has happened that a waiting warp may have waited for.
  void progress() { stalled_ = false; }

 private:
  bool run_round();
  bool wake_waiting();
  void complete_barrier();
  void check_ended(Block& block);
  [[noreturn]] void report_deadlock();

  Launch& launch_;
  HappensBefore order_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<int> turns_;  // order of the CTAs' turns
  int running_ = 0;         // rank of the CTA whose turn it is
  int64_t number_ = 0;
  bool stalled_ = false;  // every wait has timed out once since something happened

  // The barrier: warps that arrived in this phase, and what they know.
  int arrived_ = 0;
  bool arriving_waited_ = false;  // one of them had waited for the grid before
  bool completed_waited_ = false;
  HappensBefore::Knowledge arriving_;
  HappensBefore::Knowledge completed_;
};

}  // namespace nvfp4::emulator
