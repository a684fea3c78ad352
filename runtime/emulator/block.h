// SPDX-License-Identifier: Apache-2.0
// A thread block: its warps, its shared memory with the shadow, its barriers and mbarriers, its
// pool of registers. Its cluster (cluster.h) gives it turns, in which each warp runs until it
// blocks, ends or has used its time slice. A Block is built once and then started for one CTA after
// the other.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "runtime/emulator/machine.h"
#include "runtime/emulator/mbarrier.h"
#include "runtime/emulator/program.h"
#include "runtime/emulator/shared_shadow.h"
#include "runtime/emulator/warp.h"
#include "runtime/emulator/warpgroup.h"

namespace nvfp4::emulator {

class Cluster;

/// What all blocks of a launch share.
struct Launch {
  const LaunchRequest* request = nullptr;
  const Function* function = nullptr;
  GlobalMemory* memory = nullptr;
  std::atomic<int64_t> warp_instructions{0};
  std::atomic<int64_t> bytes_read{0};
  std::atomic<int64_t> bytes_written{0};
  std::atomic<bool> stop{false};  ///< set by the first fault
  std::mutex mutex;
  std::optional<Fault> fault;  ///< under the mutex

  void report(Fault found);
};

/// How the threads of a CTA that meet at a barrier combine a predicate.
enum class BarrierReduction : uint8_t { none, popc, all, any };

/// What a CTA does in the shared memory of a peer. A copy's end is seen at the peer's mbarrier.
enum class PeerAccess : uint8_t { load, copy, other };

/// The coordinates of the `number`-th place in a box.
std::array<uint32_t, 3> unflatten(int64_t number, const std::array<unsigned, 3>& extent);
/// Warps of a CTA.
int warp_count(const LaunchRequest& request);

class Block {
 public:
  /// `rank` in the cluster.
  Block(Launch& launch, Cluster& cluster, int rank);

  // For the cluster.
  void start(bool forget);  ///< `forget`: stamps of the order start again
  void end_grid_wait();
  bool run_turns();       ///< one turn of each warp; false when none could run
  bool time_out_waits();  ///< false when no warp waits at an mbarrier
  bool ended() const { return live_warps_ == 0; }
  int live_warps() const { return live_warps_; }
  bool any_warp_in(WarpState state) const;
  void complete_cluster_barrier();
  std::string describe_waits(bool first, bool names_rank);
  int first_waiting_lane() const;
  Fault located(const Violation& violation) const;
  void flush_counters();

  /// A peer's access to this CTA's shared memory.
  struct Visit {
    Access by;
    int line = 0;
    bool is_load = false;
  };
  void note_visit(const Visit& visit);
  /// A visit that no warp of this CTA knows of.
  std::optional<Visit> unordered_visit() const;

  // For instructions.
  Launch& launch() { return launch_; }
  Cluster& cluster() { return cluster_; }
  Mbarriers& mbarriers() { return mbarriers_; }
  Warpgroup& warpgroup(const Warp& warp) { return warpgroups_[warp.index() / 4]; }
  Warp& warp(int index) { return warps_[index]; }
  int wgmma_agent(const Warp& warp) const;   ///< of the warp's warpgroup (happens_before.h)
  void blame(int warp) { running_ = warp; }  ///< for a fault found on behalf of this warp
  int rank() const { return rank_; }
  int warps() const { return static_cast<int>(warps_.size()); }
  const LaunchRequest& request() const { return *launch_.request; }
  SharedShadow& shadow() { return shadow_; }
  std::byte* shared() { return shared_.data(); }
  size_t shared_bytes() const { return shared_bytes_; }
  std::byte* local(int warp, int lane) {
    return local_.data() + static_cast<size_t>(warp * kWarpLanes + lane) * function_.local_bytes;
  }
  uint32_t special(Special special, int warp, int lane) const;
  bool past_grid_wait() const { return past_grid_wait_; }
  uint64_t clock() { return ++clock_ + static_cast<uint64_t>(instructions_); }  ///< grows, no more

  /// The live allocation that holds `address`; zero bytes when there is none.
  const GlobalMemory::Block& allocation(uint64_t address) {
    if (address - cached_.address >= cached_.bytes) cached_ = launch_.memory->block(address);
    return cached_;
  }
  void count_read(int64_t bytes) { bytes_read_ += bytes; }
  void count_written(int64_t bytes) { bytes_written_ += bytes; }

  /// A warp arrives at barrier `id`, which `threads` threads complete (0: all of the CTA). If
  /// `waits`, the warp sleeps until then. For a reduction, `lanes` are those whose predicate holds.
  struct Arrival {
    int id;
    uint32_t threads;
    bool waits;
    BarrierReduction reduction = BarrierReduction::none;
    uint32_t lanes = 0;
    Slot destination = kNoSlot;
  };
  void arrive(Warp& warp, const Arrival& arrival);
  void warp_ended(Warp& warp);

  /// setmaxnreg: gives registers of a warp back to the pool, or takes more; false: not now.
  void release_registers(Warp& warp, int count);
  bool take_registers(Warp& warp, int count);

 private:
  static constexpr int kBarriers = 16;
  struct Barrier {
    uint32_t expected = 0;         // threads; 0: all warps that have not ended
    int arrived = 0;               // warps
    bool waited_for_grid = false;  // by one of those who arrived
    BarrierReduction reduction = BarrierReduction::none;
    uint32_t true_count = 0;
    uint32_t all_count = 0;
    std::vector<std::pair<int, Slot>> waiting;  // warps, and where each wants the reduction
    HappensBefore::Knowledge knowledge;
  };

  void try_complete(Barrier& barrier);
  void check_limit(Warp& warp);
  std::array<uint32_t, 3> thread_position(int warp, int lane) const;

  Launch& launch_;
  Cluster& cluster_;
  int rank_;
  const Function& function_;
  int threads_;
  int live_warps_ = 0;
  bool past_grid_wait_ = false;
  size_t shared_bytes_;
  std::vector<std::byte> shared_;
  std::vector<std::byte> local_;
  SharedShadow shadow_;
  std::array<Barrier, kBarriers> barriers_;
  Mbarriers mbarriers_;
  std::vector<Warpgroup> warpgroups_;
  int free_registers_ = 0;
  std::vector<Visit> visits_;  // the last by [agent][lane][is_load]; stamp 0: none
  std::vector<Warp> warps_;
  std::vector<int> order_;  // in which the warps take their turns
  int running_ = 0;         // the warp whose turn it is
  int64_t number_ = 0;
  std::array<uint32_t, 3> position_{};
  GlobalMemory::Block cached_;
  uint64_t clock_ = 0;
  int64_t instructions_ = 0;  // not yet added to the launch's, as the next two
  int64_t bytes_read_ = 0;
  int64_t bytes_written_ = 0;
};

}  // namespace nvfp4::emulator
