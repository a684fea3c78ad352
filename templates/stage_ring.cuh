// SPDX-License-Identifier: Apache-2.0
// The ring of stages between the producer warp and the consumer warps, in dynamic shared memory:
//
//   | stage 0 | stage 1 | ... | patches | exchanged sums | filled[0..S) | empty[0..S) | sums |
//
// filled[s] ends a phase when the stage's bytes have landed, empty[s] when every consumer warp of every
// CTA along n has released it, since each CTA's activations land in all of them. All warps read all
// stages: a warp that skipped one could see the next use of its slot before the last had landed, and a
// wait for one parity cannot tell. The n-th use of a slot has parity n % 2.
#pragma once

#include "kernel_config.h"
#include "ptx_hopper.cuh"

namespace nvfp4 {

/// A place on the ring: the slot and the parity of its present use.
template <KernelConfig kConfig>
struct RingPosition {
  int slot = 0;
  u32 parity = 0;

  __device__ void advance() {
    if (++slot == kConfig.num_stages) {
      slot = 0;
      parity ^= 1;
    }
  }
};

template <KernelConfig kConfig>
struct StageRing {
  using Position = RingPosition<kConfig>;

  u32 base;      ///< shared address of stage 0
  u32 barriers;  ///< of filled[0]

  __device__ explicit StageRing(const unsigned char* smem) : base(smem_address(smem)) {
    barriers = base + smem_bytes(kConfig) - barrier_bytes(kConfig);
  }

  __device__ u32 stage(int slot) const { return base + slot * stage_bytes(kConfig); }
  __device__ u32 filled(int slot) const { return barriers + slot * 8; }
  __device__ u32 empty(int slot) const { return barriers + (kConfig.num_stages + slot) * 8; }
  __device__ u32 sums() const { return barriers + kConfig.num_stages * 16; }

  /// By one thread.
  __device__ void init() const {
    for (int slot = 0; slot < kConfig.num_stages; ++slot) {
      mbarrier_init(filled(slot), 1);
      mbarrier_init(empty(slot), warps(kConfig) * kConfig.cluster_n);
    }
    mbarrier_init(sums(), 1);
    mbarrier_init_fence();
    fence_async_proxy();
  }

  /// Announces what will land in the stage, from this CTA's producer and its peers.
  __device__ void expect(int slot, u32 bytes) const { mbarrier_arrive_expect(filled(slot), bytes); }

  __device__ void wait_filled(const Position& at) const { mbarrier_wait(filled(at.slot), at.parity); }

  /// Until the stage's previous use has been released. A fresh mbarrier answers for the parity before
  /// its first phase at once, so the first round over the ring waits for nothing.
  __device__ void wait_empty(const Position& at) const { mbarrier_wait(empty(at.slot), at.parity ^ 1); }

  /// By a whole warp that has read the stage; `rank_k` names its row of the cluster.
  __device__ void release(int slot, int lane, u32 rank_k) const {
    warp_sync();  // one lane speaks for what all have read
    if constexpr (kConfig.cluster_n == 1) {
      if (lane == 0) mbarrier_arrive(empty(slot));
    } else {
      if (lane < kConfig.cluster_n) mbarrier_arrive_remote(empty(slot), rank_k * kConfig.cluster_n + lane);
    }
  }
};

}  // namespace nvfp4
