// SPDX-License-Identifier: Apache-2.0
// The sums of a cluster's CTAs along k meet. Each CTA finishes a share of the tile's token tiles and gets
// its peers' sums of them pushed into its shared memory, fragment by fragment: what lane l of warp w holds
// goes to lane l of warp w, so that nobody turns anything, and one mbarrier counts the bytes.
//
//   buffer    peer | warp | 64-row tile of the warpgroup | token tile of the share | 32 lanes x 16 bytes
//
// The owner adds in the order of k, whoever comes first. Compared with slabs that peers read between two
// barriers of the cluster, this is one way through the network and not three.
#pragma once

#include "kernel_config.h"
#include "ptx_hopper.cuh"

namespace nvfp4 {

template <KernelConfig kConfig>
struct ClusterSum {
  static constexpr int kShares = kConfig.cluster_k;
  static constexpr int kSlots = units_per_warp(kConfig);
  static constexpr int kTokenTiles = kConfig.block_m / kTokenTile;
  static constexpr int kMostTiles = exchanged_token_tiles(kConfig);
  static constexpr int kPeerBytes = warps(kConfig) * kSlots * kMostTiles * 512;
  using Sums = float[kSlots][kConfig.block_m / 2];

  u32 buffer;   ///< shared address
  u32 barrier;  ///< of an mbarrier that one arrival completes
  int rank_k;
  u32 rank_n;

  /// Token tiles [first(k), first(k + 1)) are finished by CTA k.
  __device__ static constexpr int first(int k) { return kTokenTiles * k / kShares; }
  __device__ static constexpr int owner(int tile) { return (kShares * (tile + 1) - 1) / kTokenTiles; }

  /// By one thread, before the phase in which the sums of a tile arrive.
  __device__ void expect() const {
    const int tiles = first(rank_k + 1) - first(rank_k);
    mbarrier_arrive_expect(barrier, (kShares - 1) * warps(kConfig) * kSlots * tiles * 512);
  }

  /// Gives away what others finish, and completes what this CTA does.
  __device__ __forceinline__ void exchange(Sums& sums, int warp, int lane, u32 parity) const {
#pragma unroll
    for (int k = 0; k < kShares; ++k) {
      if (k != rank_k) send(sums, k, warp, lane);
    }
    mbarrier_wait(barrier, parity);
#pragma unroll
    for (int r = 0; r < kSlots; ++r) {
#pragma unroll
      for (int t = 0; t < kTokenTiles; ++t) {
        if (owner(t) == rank_k) complete(sums[r], t, place(warp, r, t) + lane * 16);
      }
    }
  }

 private:
  __device__ static u32 place(int warp, int r, int t) {
    return ((warp * kSlots + r) * kMostTiles + t - first(owner(t))) * 512;
  }
  // Where CTA `k` keeps what CTA `from` sent.
  __device__ static u32 peer_offset(int from, int k) { return (from < k ? from : from - 1) * kPeerBytes; }

  __device__ __forceinline__ void send(const Sums& sums, int k, int warp, int lane) const {
    const u32 peer = k * kConfig.cluster_n + rank_n;
    const u32 target = cluster_address(buffer + peer_offset(rank_k, k) + lane * 16, peer);
    const u32 arrival = cluster_address(barrier, peer);
#pragma unroll
    for (int r = 0; r < kSlots; ++r) {
#pragma unroll
      for (int t = first(k); t < first(k + 1); ++t) {
        store_async(target + place(warp, r, t), arrival, sums[r][t * 4], sums[r][t * 4 + 1], sums[r][t * 4 + 2],
                    sums[r][t * 4 + 3]);
      }
    }
  }

  __device__ __forceinline__ void complete(float (&sums)[kConfig.block_m / 2], int t, u32 offset) const {
    float total[4];
#pragma unroll
    for (int k = 0; k < kShares; ++k) {
      F32x4 part = {sums[t * 4], sums[t * 4 + 1], sums[t * 4 + 2], sums[t * 4 + 3]};
      if (k != rank_k) part = load_shared(buffer + peer_offset(k, rank_k) + offset);
#pragma unroll
      for (int i = 0; i < 4; ++i) total[i] = k == 0 ? part.x[i] : total[i] + part.x[i];
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[t * 4 + i] = total[i];
  }
};

}  // namespace nvfp4
