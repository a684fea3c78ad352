// SPDX-License-Identifier: Apache-2.0
// The wgmma family (sm_90a): weights are wgmma's A operand, decoded into registers; activations its B
// operand, read from 128-byte-swizzled shared memory. One thread starts copies, warps_n warps multiply, and
// a ring of num_stages stages lies between them:
//
//   producer thread          ring in shared memory               consumer warpgroups
//   bulk copy of weights --> | activations | packed weights | --> decode --> wgmma (async)
//   tensor copy of tokens    filled[s]: bytes have landed          release: empty[s]
//
// A CTA owns a strip of block_n rows (strip.cuh), a warpgroup one or more of its 64-row tiles. (Two groups of
// warps that took the k tiles of a stage in turn were slower: 18.3 against 16.6 us at 15360 x 3840, M = 64.)
//
// A cluster is cluster_n x cluster_k CTAs. Along n they multiply different rows by the same tokens: each
// fetches 1 / cluster_n of them and multicasts it. Along k each takes a share of the steps (cluster_sum.cuh
// adds them up). Both exist because of L2: at 15360 x 3840, M = 64, 120 CTAs of 128 rows read 59 MB of
// activations beside 33 MB of weights, and about 5 TB/s is what L2 gives.
//
// wgmma is asynchronous: while one group of four k16 steps runs, the next is decoded into the other of
// two register sets. A warp never waits for its latest group but for the one before it. (Groups of one
// step each, so that decode and wgmma alternate within a warp, were no faster: 18.4 against 18.2 us at
// 15360 x 3840, M = 64, and with more than four of them in flight ptxas serialises, C7513.)
#pragma once

#include "cluster_sum.cuh"
#include "decode.cuh"
#include "epilogue.cuh"
#include "gemm_params.h"
#include "kernel_config.h"
#include "packed_layout.h"
#include "ptx_hopper.cuh"
#include "shared_tile.cuh"
#include "stage_ring.cuh"
#include "store_tile.cuh"
#include "strip.cuh"
#include "tile_scheduler.cuh"

namespace nvfp4 {

/// `Wgmma::multiply(sums, a, descriptor)` is one 64 x block_m x 16 product (emit_wgmma.cpp).
template <KernelConfig kConfig, int kN, int kK, typename Wgmma, typename Outputs>
struct GemmWgmma {
  static_assert(kConfig.family == Family::wgmma);
  using Ring = StageRing<kConfig>;
  using Weights = Strip<kConfig, kN, kK>;
  using Exchange = ClusterSum<kConfig>;
  static constexpr int kSlots = units_per_warp(kConfig);  ///< 64-row tiles of one warpgroup
  static constexpr int kStageTiles = k_tiles_per_stage(kConfig);
  static constexpr int kSteps = (Weights::kKTiles + kStageTiles - 1) / kStageTiles;
  static constexpr int kCluster = cluster_ctas(kConfig);
  static constexpr int kActivations = kStageTiles * activation_tile_bytes(kConfig);
  static constexpr int kGroups = kSlots * kStageTiles;  ///< wgmma groups of a stage
  using Scheduler = TileScheduler<kConfig, kN, kSteps>;
  using Sums = typename Exchange::Sums;

  const GemmParams& params;
  const TensorMap& map;
  Outputs outputs;
  unsigned char* smem;
  Ring ring;
  int warp;
  int lane;
  u32 rank_n;  ///< of this CTA in its cluster
  u32 rank_k;
  int slice;  ///< tokens of a tile that this CTA fetches

  __device__ GemmWgmma(const GemmParams& p, const TensorMap& activations, Outputs places, unsigned char* shared)
      : params(p), map(activations), outputs(places), smem(shared), ring(shared) {
    // The shuffle tells the compiler that all lanes agree, which keeps descriptors in uniform registers.
    warp = broadcast_lane(static_cast<int>(threadIdx.x) / kWarpThreads);
    lane = static_cast<int>(threadIdx.x) % kWarpThreads;
    const u32 rank = kCluster > 1 ? cluster_rank() : 0;
    rank_n = rank % kConfig.cluster_n;
    rank_k = rank / kConfig.cluster_n;
    slice = slice_tokens(kConfig, params.m);
  }

  __device__ void run() {
    if constexpr (kConfig.pdl) launch_dependents();
    Scheduler work = scheduler();
    const Segment first = next(work);
    const bool elected = warp == warps(kConfig) && elect_one();
    if (elected) start(first);
    warp_sync();
    begin();
    if (warp >= warps(kConfig)) {
      lower_registers<kProducerRegisters>();
      produce(work, first, elected);
    } else {
      raise_registers<consumer_registers(kConfig)>();
      consume(work, first);
    }
  }

  // All roles walk the same line of work, cluster by cluster. No cluster is without any.
  __device__ Scheduler scheduler() const { return Scheduler(params, blockIdx.x / kCluster, gridDim.x / kCluster); }

  // The steps of the cluster's next piece that are this CTA's.
  __device__ Segment next(Scheduler& work) const {
    Segment segment = work.next();
    if constexpr (kConfig.cluster_k > 1) {
      segment.begin = kSteps * static_cast<int>(rank_k) / kConfig.cluster_k;
      segment.end = kSteps * static_cast<int>(rank_k + 1) / kConfig.cluster_k;
    }
    return segment;
  }

  __device__ Weights strip(u32 tile) const {
    return {static_cast<int>(tile / params.tiles_m * kConfig.cluster_n + rank_n) * Weights::kTiles};
  }

  // The last tile ends with the last token, and repeats some of the tile before it rather than reach beyond.
  // Not under stream-K: a token of two tiles, one of which is shared, would have sums of two roundings.
  __device__ int first_token(u32 tile) const {
    const int token = static_cast<int>(tile % params.tiles_m) * kConfig.block_m;
    if constexpr (uses_workspace(kConfig)) return token;
    const int last = params.m - kConfig.block_m;
    return token == 0 || token < last ? token : last;
  }

  __device__ Exchange exchange() const {
    return {smem_address(smem) + pipeline_bytes(kConfig) + patch_bytes(kConfig), ring.sums(),
            static_cast<int>(rank_k), rank_n};
  }

  // --- What all warps of a CTA, and of a cluster, do together.

  // The barriers exist. mbarrier_init_fence has ordered it: the arrival need not.
  __device__ static void begin() {
    if constexpr (kCluster > 1) {
      cluster_arrive_relaxed();
      cluster_wait();
    } else {
      cta_sync();
    }
  }

  // All have read the sums that their peers sent: the next tile's may come.
  __device__ void end_tile(const Scheduler& work) const {
    if (kConfig.cluster_k == 1 || !work.has_work()) return;
    cluster_arrive();
    cluster_wait();
  }

  // --- The producer warpgroup: one lane of it starts all copies.
  //
  // Copies of one SM are served in order. Weights of every stage ahead of the first activations kept the
  // consumers waiting 5000 cycles; those of one stage, and then stage by stage, 16.4 instead of 17.7 us at
  // 15360 x 3840, M = 64 (H100). Prefetching the weights behind them into L2 cost a microsecond more.

  __device__ void start(const Segment& first) const {
    prefetch_tensor_map(&map);
    ring.init();
    if (kConfig.cluster_k > 1) exchange().expect();
    if (first.begin < first.end) fill_weights(0, strip(first.tile), first.begin);
  }

  __device__ void produce(Scheduler work, Segment segment, bool elected) {
    wait_for_predecessor();
    typename Ring::Position at;
    bool filled = true;  // the first stage's weights are on their way already
    while (true) {
      if (elected) {
        const Weights rows = strip(segment.tile);
        const int token = first_token(segment.tile) + static_cast<int>(rank_n) * slice;
        for (int step = segment.begin; step < segment.end; ++step) {
          if (!filled) {
            ring.wait_empty(at);
            fill_weights(at.slot, rows, step);
          }
          filled = false;
          fill_activations(at.slot, token, step);
          at.advance();
        }
      }
      warp_sync();
      end_tile(work);
      if (!work.has_work()) break;
      if (elected && kConfig.cluster_k > 1) exchange().expect();
      segment = next(work);
    }
    if (elected && kConfig.cluster_n > 1) drain(at);
  }

  // No CTA leaves while its peers' releases of its last stages are on their way to its barriers.
  __device__ void drain(typename Ring::Position at) const {
    for (int i = 0; i < kConfig.num_stages; ++i) {
      ring.wait_empty(at);
      at.advance();
    }
  }

  __device__ void fill_weights(int slot, const Weights& rows, int step) const {
    ring.expect(slot, Weights::kBytes + kStageTiles * slice * kConfig.cluster_n * 128);
    rows.load(params, step, ring.stage(slot) + kActivations, ring.filled(slot));
  }

  __device__ void fill_activations(int slot, int token, int step) const {
    const u32 target = ring.stage(slot) + rank_n * slice * 128;
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

  __device__ void consume(Scheduler work, Segment segment) {
    wait_for_predecessor();
    typename Ring::Position at;
    u32 parity = 0;  // of the sums' mbarrier
    while (true) {
      Sums sums;
      const Weights rows = strip(segment.tile);
      // The factors are fetched here: a load from L2 behind the main loop costs 0.6 us.
      float factors[kSlots];
#pragma unroll
      for (int r = 0; r < kSlots; ++r) factors[r] = row_factor<kN>(params, rows.first * kTileRows + strip_row(r));
      multiply(at, segment.end - segment.begin, sums);
      if constexpr (kConfig.cluster_k > 1) exchange().exchange(sums, warp, lane, parity);
      bool complete = true;
      if constexpr (uses_workspace(kConfig)) {
        const SharedTile<kConfig> shared{params, work.worker, rank_n, warp, lane};
        if (segment.end - segment.begin < kSteps) complete = shared.complete(segment, sums);
      }
      if (complete) store(rows, first_token(segment.tile), sums, factors);
      end_tile(work);
      if (!work.has_work()) break;
      segment = next(work);
      parity ^= 1;
    }
  }

  /// The 64-row tile of the strip that this warp's warpgroup multiplies in slot r, and the warp's 16 rows.
  __device__ int strip_tile(int r) const { return warp / 4 * kSlots + r; }
  __device__ int strip_row(int r) const { return strip_tile(r) * kTileRows + warp % 4 * kUnitRows; }

  /// A lane's share of one unit and k tile: four words of codes, eight block scales.
  struct Words {
    U32x4 codes;
    U32x2 scales;
  };
  struct Fragments {
    u32 a[4][4];
  };

  // `left` steps of one tile. `at` is the place of the first and is left behind the last.
  __device__ void multiply(typename Ring::Position& at, int left, Sums& sums) {
#pragma unroll
    for (int r = 0; r < kSlots; ++r) {
#pragma unroll
      for (int i = 0; i < kConfig.block_m / 2; ++i) pin(sums[r][i] = 0);
    }
    Fragments sets[2];
    if (left == 0) return;
    int previous = -1;
    ring.wait_filled(at);
    Words next = load_words(at.slot, 0);
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
    at.advance();
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
      Fragments& set = sets[(kFirstSet + y) % 2];
      const Words words = next;
      if (y + 1 < kGroups) {
        next = load_words(slot, y + 1);
      } else if (left > 1) {
        at.advance();
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
        Wgmma::multiply(sums[y % kSlots], set.a[s], tokens + y / kSlots * (activation_tile_bytes(kConfig) / 16) + s * 2);
      }
      wgmma_commit();
      wgmma_wait<1>();
      // The group before this one has ended, and with it the reading of the previous stage.
      if (y == 0 && previous >= 0) ring.release(previous, lane, rank_k);
    }
    previous = slot;
  }

  // The words of wgmma group `y` of a stage: slot y % kSlots, k tile y / kSlots.
  __device__ __forceinline__ Words load_words(int slot, int y) const {
    const unsigned char* tile = smem + slot * stage_bytes(kConfig) + kActivations +
                                strip_tile(y % kSlots) * Weights::kTileStride + y / kSlots * kTileBytes;
    Words words;
    words.codes = *reinterpret_cast<const U32x4*>(tile + warp % 4 * kUnitCodeBytes + lane * 16);
    words.scales = *reinterpret_cast<const U32x2*>(tile + kTileScaleOffset + warp % 4 * kUnitScaleBytes +
                                                   lane / 4 * 8);
    return words;
  }

  __device__ void store(const Weights& rows, int token, const Sums& sums,
                        const float (&factors)[kSlots]) const {
    unsigned char* patch = smem + pipeline_bytes(kConfig) + warp * (kPatchTokens * kPatchRowBytes);
    const TileStore<kConfig, kN, Outputs> tile{params, outputs, patch, lane, Exchange::first(rank_k),
                                               Exchange::first(rank_k + 1)};
#pragma unroll
    for (int r = 0; r < kSlots; ++r) {
      tile.store(sums[r], rows.first * kTileRows + strip_row(r), token, factors[r]);
    }
  }
};

template <KernelConfig kConfig, int kN, int kK, typename Wgmma, typename Outputs>
__device__ __forceinline__ void gemm_wgmma(const GemmParams& params, const TensorMap& activations,
                                           Outputs outputs) {
  extern __shared__ __align__(1024) unsigned char smem[];
  GemmWgmma<kConfig, kN, kK, Wgmma, Outputs>(params, activations, outputs, smem).run();
}

}  // namespace nvfp4
