// SPDX-License-Identifier: Apache-2.0
// The wgmma family (sm_90a): weights are wgmma's A operand, decoded into registers; activations its B
// operand, read from 128-byte-swizzled shared memory. One thread starts copies, warps_n x warps_k
// warps multiply, and a ring of num_stages stages lies between them:
//
//   producer thread          ring in shared memory               consumer warpgroups
//   bulk copy of weights --> | activations | packed weights | --> decode --> wgmma (async)
//   tensor copy of tokens    filled[s]: bytes have landed          release: empty[s]
//
// A cluster is cluster_n x cluster_k CTAs. Along n they multiply different rows by the same tokens: each
// fetches 1 / cluster_n of them and multicasts it. Along k each takes a share of the steps, and the sums
// meet through distributed shared memory. Both exist because of L2: at 15360 x 3840, M = 64, 120 CTAs of
// 128 rows read 59 MB of activations beside 33 MB of weights, and about 5 TB/s is what L2 gives.
//
// wgmma is asynchronous: while one group of four k16 steps runs, the next is decoded into the other of
// two register sets. A warp never waits for its latest group but for the one before it. (Groups of one
// step each, so that decode and wgmma alternate within a warp, were no faster: 18.4 against 18.2 us at
// 15360 x 3840, M = 64, and with more than four of them in flight ptxas serialises, C7513.)
#pragma once

#include "decode.cuh"
#include "epilogue.cuh"
#include "gemm_params.h"
#include "kernel_config.h"
#include "packed_layout.h"
#include "ptx_hopper.cuh"
#include "stage_ring.cuh"

namespace nvfp4 {

/// `Wgmma::multiply(sums, a, descriptor)` is one 64 x block_m x 16 product (emit_wgmma.cpp).
template <KernelConfig kConfig, int kN, int kK, typename Wgmma>
struct GemmWgmma {
  static_assert(kConfig.family == Family::wgmma);
  using Ring = StageRing<kConfig>;
  static constexpr int kRowTiles = units_per_warp(kConfig);  ///< 64-row tiles of one warpgroup
  static constexpr int kCtaRowTiles = kConfig.block_n / kTileRows;
  static constexpr int kMatrixRowTiles = (kN + kTileRows - 1) / kTileRows;
  static constexpr int kStageTiles = k_tiles_per_stage(kConfig);
  static constexpr int kKTiles = (kK + kTileK - 1) / kTileK;
  static constexpr int kSteps = (kKTiles + kStageTiles - 1) / kStageTiles;
  static constexpr bool kRaggedK = kKTiles % kStageTiles != 0;
  static constexpr int kClusterRows = kConfig.block_n * kConfig.cluster_n;
  static constexpr u32 kTilesN = (kN + kClusterRows - 1) / kClusterRows;
  static constexpr int kCluster = cluster_ctas(kConfig);
  static constexpr int kTileWeights = kStageTiles * kTileBytes;  ///< of one row tile and stage
  static constexpr int kActivations = kStageTiles * activation_tile_bytes(kConfig);
  static constexpr int kSliceTokens = kConfig.block_m / kConfig.cluster_n;
  static constexpr int kGroups = kRowTiles * kStageTiles;  ///< wgmma groups of a stage
  using Sums = float[kRowTiles][kConfig.block_m / 2];

  const GemmParams& params;
  const TensorMap& map;
  unsigned char* smem;
  Ring ring;
  int warp;
  int lane;
  u32 rank_n;  ///< of this CTA in its cluster
  u32 rank_k;

  __device__ GemmWgmma(const GemmParams& p, const TensorMap& activations, unsigned char* shared)
      : params(p), map(activations), smem(shared), ring(shared) {
    // The shuffle tells the compiler that all lanes agree, which keeps descriptors in uniform registers.
    warp = broadcast_lane(static_cast<int>(threadIdx.x) / kWarpThreads);
    lane = static_cast<int>(threadIdx.x) % kWarpThreads;
    const u32 rank = kCluster > 1 ? cluster_rank() : 0;
    rank_n = rank % kConfig.cluster_n;
    rank_k = rank / kConfig.cluster_n;
  }

  __device__ void run() {
    if constexpr (kConfig.pdl) launch_dependents();
    if (warp >= warps(kConfig)) {
      lower_registers<kProducerRegisters>();
      produce();
    } else {
      raise_registers<consumer_registers(kConfig)>();
      consume();
    }
  }

  // Work is dealt out statically, cluster by cluster; tiles of the same rows are neighbours.
  __device__ u32 first_tile() const { return blockIdx.x / kCluster; }
  __device__ u32 tile_stride() const { return gridDim.x / kCluster; }
  __device__ u32 tiles() const { return kTilesN * params.tiles_m; }
  __device__ int first_step() const { return kSteps * static_cast<int>(rank_k) / kConfig.cluster_k; }
  __device__ int last_step() const { return kSteps * static_cast<int>(rank_k + 1) / kConfig.cluster_k; }

  __device__ static void sync_all() {
    if constexpr (kCluster > 1) {
      cluster_sync();
    } else {
      cta_sync();
    }
  }

  // --- The producer warpgroup: one lane of it starts all copies.

  __device__ void produce() {
    if (warp > warps(kConfig)) return idle();
    const bool elected = elect_one();
    const int steps = last_step() - first_step();
    const int ahead = steps < kConfig.num_stages ? steps : kConfig.num_stages;
    if (elected) {
      prefetch_tensor_map(&map);
      ring.init();
      for (int i = 0; i < ahead; ++i) fill_weights(i, row_tile(first_tile()), first_step() + i);
    }
    warp_sync();
    sync_all();  // the ring exists in every CTA of the cluster
    wait_for_predecessor();
    typename Ring::Position at;
    int filled = ahead;  // stages whose weights are on their way already
    for (u32 tile = first_tile(); tile < tiles(); tile += tile_stride()) {
      if (elected) {
        const int row = row_tile(tile);
        const int token = static_cast<int>(tile % params.tiles_m) * kConfig.block_m +
                          static_cast<int>(rank_n) * kSliceTokens;
        for (int step = first_step(); step < last_step(); ++step) {
          if (--filled < 0) {
            ring.wait_empty(at);
            fill_weights(at.slot, row, step);
          }
          fill_activations(at.slot, token, step);
          at.advance(1);
        }
      }
      warp_sync();
      end_tile();
    }
    end();
  }

  // The other warps of the producer's warpgroup only take part in the CTA's barriers.
  __device__ void idle() {
    sync_all();
    wait_for_predecessor();
    for (u32 tile = first_tile(); tile < tiles(); tile += tile_stride()) end_tile();
    end();
  }

  __device__ static void end_tile() {
    if constexpr (reduces_in_smem(kConfig)) {
      sync_all();  // the sums lie in shared memory
      sync_all();  // and have been read
    }
  }

  // No CTA leaves while its peers may still reach into its shared memory.
  __device__ static void end() {
    if constexpr (kCluster > 1 && !reduces_in_smem(kConfig)) cluster_sync();
  }

  // The first 64-row tile of this CTA's strip.
  __device__ int row_tile(u32 tile) const {
    return static_cast<int>(tile / params.tiles_m * kConfig.cluster_n + rank_n) * kCtaRowTiles;
  }

  __device__ void fill_weights(int slot, int first, int step) const {
    ring.expect(slot, kCtaRowTiles * kTileWeights + kActivations);
    const unsigned char* weights = static_cast<const unsigned char*>(params.weights);
    const u32 target = ring.stage(slot) + kActivations;
#pragma unroll
    for (int r = 0; r < kCtaRowTiles; ++r) {
      // Rows beyond the matrix repeat its last tile: what they give is never stored.
      const bool ragged = kMatrixRowTiles % (kCtaRowTiles * kConfig.cluster_n) != 0;
      const int row_tile = !ragged || first + r < kMatrixRowTiles ? first + r : kMatrixRowTiles - 1;
      const unsigned char* row = weights + u64(row_tile) * (u64{kKTiles} * kTileBytes);
      if constexpr (kRaggedK) {
        if ((step + 1) * kStageTiles > kKTiles) {
          fill_last_weights(slot, row, target + r * kTileWeights, step);
          continue;
        }
      }
      bulk_copy(target + r * kTileWeights, row + u64(step) * kTileWeights, kTileWeights, ring.filled(slot));
    }
  }

  // The last stage of a K that no stage divides: tiles beyond K repeat the last one, and their
  // activations are zeros.
  __device__ void fill_last_weights(int slot, const unsigned char* row, u32 target, int step) const {
    for (int j = 0; j < kStageTiles; ++j) {
      const int k_tile = step * kStageTiles + j < kKTiles ? step * kStageTiles + j : kKTiles - 1;
      bulk_copy(target + j * kTileBytes, row + u64(k_tile) * kTileBytes, kTileBytes, ring.filled(slot));
    }
  }

  __device__ void fill_activations(int slot, int token, int step) const {
    const u32 target = ring.stage(slot) + rank_n * (kSliceTokens * 128);
#pragma unroll
    for (int j = 0; j < kStageTiles; ++j) {
      const int k = (step * kStageTiles + j) * kTileK;
      const u32 box = target + j * activation_tile_bytes(kConfig);
      if constexpr (kConfig.cluster_n > 1) {
        const u32 mask = ((1u << kConfig.cluster_n) - 1) << (rank_k * kConfig.cluster_n);
        tensor_copy_multicast(box, &map, k, token, ring.filled(slot), static_cast<unsigned short>(mask));
      } else {
        tensor_copy(box, &map, k, token, ring.filled(slot));
      }
    }
  }

  // --- The consumer warps.

  __device__ void consume() {
    sync_all();
    wait_for_predecessor();
    typename Ring::Position at;
    at.advance(group());
    for (u32 tile = first_tile(); tile < tiles(); tile += tile_stride()) {
      Sums sums;
      const int tile_n = static_cast<int>(tile / params.tiles_m * kConfig.cluster_n + rank_n);
      const int tile_m = static_cast<int>(tile % params.tiles_m);
      // The factors are fetched here: a load from L2 behind the main loop costs 0.6 us.
      if constexpr (reduces_in_smem(kConfig)) {
        const float factor = row_factor<kN>(params, tile_n * kConfig.block_n + reduced_row());
        multiply(at, sums);
        reduce(tile_n, tile_m, sums, factor);
      } else {
        float factors[kRowTiles];
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) factors[r] = row_factor<kN>(params, tile_n * kConfig.block_n + cta_row(r));
        multiply(at, sums);
        store(tile_n, tile_m, sums, factors);
      }
    }
    end();
  }

  __device__ int group() const { return kConfig.warps_k == 1 ? 0 : warp / kConfig.warps_n; }
  __device__ int warpgroup() const { return warp % kConfig.warps_n / 4; }  ///< within its group
  __device__ int cta_row(int r) const { return (warpgroup() * kRowTiles + r) * kTileRows + warp % 4 * kUnitRows; }

  /// A lane's share of one 64 x 64 tile of packed weights: four words of codes, eight block scales.
  struct Words {
    U32x4 codes;
    U32x2 scales;
  };
  struct Fragments {
    u32 a[4][4];
  };

  // All steps of one tile that fall to this warp's group: every warps_k-th from group() on. `at` is the
  // place of the first of them and is left at the next tile's.
  __device__ void multiply(typename Ring::Position& at, Sums& sums) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int i = 0; i < kConfig.block_m / 2; ++i) sums[r][i] = 0;
    }
    const int steps = last_step() - first_step();
    const int count = (steps - group() + kConfig.warps_k - 1) / kConfig.warps_k;
    if (count > 0) {
      int left = count;
      Fragments sets[2];
      ring.wait_filled(at);
      Words next = load_words(at.slot, 0);
      int previous = -1;
      while (true) {
        multiply_stage<0>(at, previous, left, next, sums, sets);
        if (--left == 0) break;
        if constexpr (kGroups % 2 == 1) {
          multiply_stage<1>(at, previous, left, next, sums, sets);
          if (--left == 0) break;
        }
      }
      wgmma_wait<0>();
      ring.release(previous, lane, rank_k);
    }
    // On to the next tile's stages, right behind this one's last.
    for (int i = count > 0 ? (count - 1) * kConfig.warps_k : 0; i < steps; ++i) at.advance(1);
  }

  // One stage: kGroups wgmma groups of four k16 steps. While one runs, the next is decoded into the other
  // set of registers; its words were loaded before that.
  template <int kFirstSet>
  __device__ __forceinline__ void multiply_stage(typename Ring::Position& at, int& previous, int left,
                                                 Words& next, Sums& sums, Fragments (&sets)[2]) const {
    const int slot = at.slot;
    const u64 tokens = wgmma_descriptor(ring.stage(slot));
#pragma unroll
    for (int y = 0; y < kGroups; ++y) {
      const int r = y % kRowTiles;
      Fragments& set = sets[(kFirstSet + y) % 2];
      const Words words = next;
      if (y + 1 < kGroups) {
        next = load_words(slot, y + 1);
      } else if (left > 1) {
        at.advance(kConfig.warps_k);
        ring.wait_filled(at);
        next = load_words(at.slot, 0);
      }
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        decode<kConfig.act>(words.codes.x[s], scale_pair<kConfig.act>(words.scales.x[s / 2], s), set.a[s]);
      }
      wgmma_fence();
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        Wgmma::multiply(sums[r], set.a[s], tokens + y / kRowTiles * (activation_tile_bytes(kConfig) / 16) + s * 2);
      }
      wgmma_commit();
      wgmma_wait<1>();
      // The group before this one has ended, and with it the reading of the previous stage.
      if (y == 0 && previous >= 0) ring.release(previous, lane, rank_k);
    }
    previous = slot;
  }

  // The words of group `y` of a stage: row tile y % kRowTiles of the warpgroup, k tile y / kRowTiles.
  __device__ __forceinline__ Words load_words(int slot, int y) const {
    const unsigned char* tile = smem + slot * stage_bytes(kConfig) + kActivations +
                                (warpgroup() * kRowTiles + y % kRowTiles) * kTileWeights +
                                y / kRowTiles * kTileBytes;
    Words words;
    words.codes = *reinterpret_cast<const U32x4*>(tile + warp % 4 * kUnitCodeBytes + lane * 16);
    words.scales = *reinterpret_cast<const U32x2*>(tile + kTileScaleOffset + warp % 4 * kUnitScaleBytes +
                                                   lane / 4 * 8);
    return words;
  }

  // Stores a tile whose sums are complete. Each warp turns 32 tokens x 16 rows at a time in a patch of
  // its own, so that a lane stores 16 bytes of consecutive rows and no warp waits for another.
  __device__ void store(int tile_n, int tile_m, const Sums& sums, const float (&factors)[kRowTiles]) const {
    float* patch = reinterpret_cast<float*>(smem + pipeline_bytes(kConfig)) + warp * (kPatchTokens * kPatchPitch);
    const int first_token = tile_m * kConfig.block_m;
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      const int row = tile_n * kConfig.block_n + cta_row(r);
#pragma unroll
      for (int base = 0; base < kConfig.block_m; base += kPatchTokens) {
        warp_sync();
        float* corner = patch + lane % 4 * 2 * kPatchPitch + lane / 4;
#pragma unroll
        for (int t = 0; t < kPatchTokens / kTokenTile; ++t) {
          const int i = (base / kTokenTile + t) * 4;
          if (i >= kConfig.block_m / 2) continue;
          float* at = corner + t * kTokenTile * kPatchPitch;
          at[0] = sums[r][i];
          at[kPatchPitch] = sums[r][i + 1];
          at[8] = sums[r][i + 2];
          at[kPatchPitch + 8] = sums[r][i + 3];
        }
        warp_sync();
#pragma unroll
        for (int e = 0; e < kPatchTokens * 2; e += kWarpThreads) {
          const int token = (e + lane) / 2;
          const int half = lane % 2 * kRowsPerThread;
          if (base + token >= kConfig.block_m || first_token + base + token >= params.m) continue;
          const F32x4* from = reinterpret_cast<const F32x4*>(patch + token * kPatchPitch + half);
          const F32x4 low = from[0];
          const F32x4 high = from[1];
          const RowSums rows = {{low.x[0], low.x[1], low.x[2], low.x[3], high.x[0], high.x[1], high.x[2], high.x[3]}};
          store_rows<kConfig, kN>(params, rows, first_token + base + token, row + half, factors[r]);
        }
      }
    }
  }

  // In the reduction a thread keeps to eight rows and walks over tokens.
  static constexpr int kRowGroups = kConfig.block_n / kRowsPerThread;
  static constexpr int kTokensAtOnce = warps(kConfig) * kWarpThreads / kRowGroups;
  __device__ int reduced_row() const { return static_cast<int>(threadIdx.x) % kRowGroups * kRowsPerThread; }

  // Sums the warp groups of all CTAs along k, group by group in a fixed order, and stores the tile. The
  // slabs take over the ring, which is empty: the producer waits for the second sync_all.
  __device__ void reduce(int tile_n, int tile_m, const Sums& sums, float factor) {
    constexpr int kPitch = reduction_pitch(kConfig);
    float* tile = reinterpret_cast<float*>(smem);
    named_barrier_sync(1, warps(kConfig) * kWarpThreads);  // all groups have left the ring
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      float* corner = tile + (group() * kConfig.block_m + lane % 4 * 2) * kPitch + cta_row(r) + lane / 4;
#pragma unroll
      for (int t = 0; t < kConfig.block_m / kTokenTile; ++t) {
        float* at = corner + t * kTokenTile * kPitch;
        at[0] = sums[r][t * 4];
        at[kPitch] = sums[r][t * 4 + 1];
        at[8] = sums[r][t * 4 + 2];
        at[kPitch + 8] = sums[r][t * 4 + 3];
      }
    }
    sync_all();
    const int left = params.m - tile_m * kConfig.block_m;
    const int tokens = left < kConfig.block_m ? left : kConfig.block_m;
    const int first = static_cast<int>(threadIdx.x) / kRowGroups;
    if (first < kTokensAtOnce) {
      for (int token = static_cast<int>(rank_k) * kTokensAtOnce + first; token < tokens;
           token += kTokensAtOnce * kConfig.cluster_k) {
        store_rows<kConfig, kN>(params, sum_cluster(tile, token, reduced_row()), tile_m * kConfig.block_m + token,
                                tile_n * kConfig.block_n + reduced_row(), factor);
      }
    }
    fence_async_proxy();  // the ring's next copies come after these accesses
    sync_all();
  }

  __device__ RowSums sum_cluster(const float* tile, int token, int row) const {
    if constexpr (kConfig.cluster_k == 1) return sum_groups<kConfig>(tile, token, row);
    RowSums total = {};
#pragma unroll
    for (int part = 0; part < kConfig.cluster_k; ++part) {
      const u32 peer = cluster_address(smem_address(tile), part * kConfig.cluster_n + rank_n);
#pragma unroll
      for (int g = 0; g < kConfig.warps_k; ++g) {
        const u32 slab = peer + ((g * kConfig.block_m + token) * reduction_pitch(kConfig) + row) * 4;
        const F32x4 low = load_cluster(slab);
        const F32x4 high = load_cluster(slab + 16);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          total.x[i] += low.x[i];
          total.x[i + 4] += high.x[i];
        }
      }
    }
    return total;
  }
};

template <KernelConfig kConfig, int kN, int kK, typename Wgmma>
__device__ __forceinline__ void gemm_wgmma(const GemmParams& params, const TensorMap& activations) {
  extern __shared__ __align__(1024) unsigned char smem[];
  GemmWgmma<kConfig, kN, kK, Wgmma>(params, activations, smem).run();
}

}  // namespace nvfp4
