// SPDX-License-Identifier: Apache-2.0
// A tile that two clusters share under stream-K: the last steps of one's line of work and the first of the
// next's. Whoever comes first leaves its sums in the workspace and goes on; the other adds them to its own and
// stores the tile. No one waits, and a sum of two does not depend on who that is: results are bit-identical
// from run to run.
//
//   tile        |-------- t --------|
//   cluster w   ... last steps |          in slot 2w + 1, at the very end of w's work
//   cluster w+1                | first    in slot 2w + 2, at the start of w+1's, so nearly always there
//
// Every warp does this for its own rows, with a counter of its own: no warp waits for another.
#pragma once

#include "gemm_params.h"
#include "kernel_config.h"
#include "ptx_hopper.cuh"
#include "tile_scheduler.cuh"

namespace nvfp4 {

template <KernelConfig kConfig>
struct SharedTile {
  static constexpr int kSlots = units_per_warp(kConfig);
  static constexpr int kTokenTiles = kConfig.block_m / kTokenTile;
  using Sums = float[kSlots][kConfig.block_m / 2];

  const GemmParams& params;
  u32 worker;  ///< this cluster
  u32 rank_n;  ///< this CTA in it
  int warp;
  int lane;

  /// Adds what the other cluster left. False when it has not come yet: it will finish the tile.
  __device__ bool complete(const Segment& segment, Sums& sums) const {
    u32* const counter = static_cast<u32*>(params.workspace) + index(segment.tile);
    const bool at_end = segment.begin == 0;
    if (fetch_add(counter, 0) == 0) {
      leave(sums, partial(2 * worker + (at_end ? 1 : 0)));
      fence_gpu();
      warp_sync();
      if (fetch_add(counter, 1) == 0) return false;
    }
    fence_gpu();
    warp_sync();
    add(sums, partial(at_end ? 2 * worker + 2 : 2 * worker - 1));
    if (lane == 0) *counter = 0;  // for the next launch
    return true;
  }

 private:
  /// Of this warp's rows in the rows of all clusters' tiles (for counters) or slots (for partials).
  __device__ u32 index(u32 tile_or_slot) const {
    return (tile_or_slot * kConfig.cluster_n + rank_n) * warps(kConfig) + warp;
  }

  __device__ float* partial(u32 slot) const {
    float* const partials =
        reinterpret_cast<float*>(static_cast<unsigned char*>(params.workspace) + params.partials_offset);
    return partials + u64(index(slot)) * (kSlots * kTokenTiles * 128) + lane * 4;
  }

  __device__ u32 fetch_add(u32* counter, u32 added) const {
    int value = 0;
    if (lane == 0) value = static_cast<int>(atomic_add(counter, added));
    return static_cast<u32>(broadcast_lane(value));
  }

  __device__ __forceinline__ void leave(const Sums& sums, float* target) const {
#pragma unroll
    for (int r = 0; r < kSlots; ++r) {
#pragma unroll
      for (int t = 0; t < kTokenTiles; ++t) {
        const float* from = &sums[r][t * 4];
        store_l2(target + (r * kTokenTiles + t) * 128, F32x4{from[0], from[1], from[2], from[3]});
      }
    }
  }

  __device__ __forceinline__ void add(Sums& sums, const float* source) const {
#pragma unroll
    for (int r = 0; r < kSlots; ++r) {
#pragma unroll
      for (int t = 0; t < kTokenTiles; ++t) {
        const F32x4 part = load_l2(source + (r * kTokenTiles + t) * 128);
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[r][t * 4 + i] += part.x[i];
      }
    }
  }
};

}  // namespace nvfp4
