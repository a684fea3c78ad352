// SPDX-License-Identifier: Apache-2.0
// The mma family (sm_80 and newer): out[m, n] = sum_k A[m, k] * W[n, k] with mma.sync m16n8k16.
//
// Weights are the MMA's A operand (16 rows of n), tokens its n side (8 a tile), so a decode batch wastes
// at most 7 token columns. A CTA owns a tile of block_n rows x block_m tokens:
//
//            k -->                                    tokens -->
//       +---------------------------+               +------+
//   n   | w0 g0 | g1 | g2 | g0 | .. |  warp_n 0     |      |
//   |   +---------------------------+               | tile |
//   v   | w1 g0 | g1 | g2 | g0 | .. |  warp_n 1     |      |
//       +---------------------------+               +------+
//
// Warp groups (warps_k of them) take k steps in turn, each through a cp.async pipeline of its own: no
// barrier joins them before the tile is summed. A group's warps (warps_n) split the rows and share the
// activations; a group of one warp needs no barrier in its main loop at all.
//
// Measured reason: one __syncthreads a stage costs 17.2 instead of 13.0 us at 15360 x 3840, M = 16 (H100).
#pragma once

#include "decode.cuh"
#include "epilogue.cuh"
#include "gemm_params.h"
#include "kernel_config.h"
#include "packed_layout.h"
#include "ptx.cuh"
#include "tile_loader.cuh"
#include "tile_scheduler.cuh"

namespace nvfp4 {

template <KernelConfig kConfig, int kN, int kK, typename Outputs>
struct GemmMma {
  static_assert(kConfig.family == Family::mma);
  static constexpr int kUnits = units_per_warp(kConfig);
  static constexpr int kTokenTiles = kConfig.block_m / kTokenTile;
  static constexpr int kSteps = (kK + kConfig.block_k - 1) / kConfig.block_k;
  static constexpr int kStages = kConfig.num_stages;
  static constexpr int kBatch = batch_steps(kConfig);
  using Loader = TileLoader<kConfig, kN, kK>;
  using Scheduler = TileScheduler<kConfig, kN, kSteps>;
  using Sums = float[kUnits][kTokenTiles][4];
  struct alignas(kBatch * 4) Codes {  ///< of a batch
    u32 x[kBatch];
  };
  struct alignas((kBatch + 1) / 2 * 4) Scales {
    u32 x[(kBatch + 1) / 2];
  };

  const GemmParams& params;
  Outputs outputs;
  unsigned char* smem;
  int warp_n;
  int group;
  int lane;
  Loader loader;

  __device__ GemmMma(const GemmParams& p, Outputs places, unsigned char* shared)
      : params(p), outputs(places), smem(shared) {
    const int warp = static_cast<int>(threadIdx.x) / kWarpThreads;
    warp_n = warp % kConfig.warps_n;
    group = warp / kConfig.warps_n;
    lane = static_cast<int>(threadIdx.x) % kWarpThreads;
    loader.pipeline = smem_address(smem) + group * kStages * stage_bytes(kConfig);
    loader.warp_n = warp_n;
    loader.lane = lane;
  }

  __device__ void run(u32 worker, u32 workers) {
    if constexpr (kConfig.pdl) launch_dependents();
    Scheduler scheduler(params, worker, workers);
    bool first = true;
    while (scheduler.has_work()) {
      const Segment segment = scheduler.next();
      const u32 tile_n = segment.tile / params.tiles_m;
      const u32 tile_m = segment.tile - tile_n * params.tiles_m;
      Sums sums = {};
      fill_pipeline(segment, tile_n, tile_m, first);
      main_loop(segment, sums);
      finish(scheduler, segment, tile_n, tile_m, sums);
      first = false;
    }
    if (kConfig.pdl && first) wait_for_predecessor();  // every CTA waits, whatever its share
  }

  // The first stages. Under PDL only packed weights may be read before the predecessor has ended.
  __device__ void fill_pipeline(const Segment& segment, u32 tile_n, u32 tile_m, bool first) {
    loader.set_weights(params, tile_n);
    loader.set_activations(params, tile_m);
#pragma unroll
    for (int s = 0; s < kStages - 1; ++s) {
      const int step = segment.begin + group + s * kConfig.warps_k;
      if (step < segment.end) loader.load_weights(s, step);
    }
    if (kConfig.pdl && first) wait_for_predecessor();
#pragma unroll
    for (int s = 0; s < kStages - 1; ++s) {
      const int step = segment.begin + group + s * kConfig.warps_k;
      if (step < segment.end) loader.load_activations(s, step);
      cp_async_commit();
    }
  }

  __device__ void main_loop(const Segment& segment, Sums& sums) {
    int slot = 0;
    for (int step = segment.begin + group; step < segment.end; step += kConfig.warps_k) {
      cp_async_wait<kStages - 2>();
      group_sync();  // the stage has landed for all; the slot refilled below has been read by all
      const int ahead = step + (kStages - 1) * kConfig.warps_k;
      if (ahead < segment.end) {
        const int target = slot == 0 ? kStages - 1 : slot - 1;
        loader.load_weights(target, ahead);
        loader.load_activations(target, ahead);
      }
      cp_async_commit();
      const unsigned char* stage =
          smem + (group * kStages + slot) * stage_bytes(kConfig);
#pragma unroll
      for (int j = 0; j < k_tiles_per_stage(kConfig); ++j) {
        multiply_tile(stage + j * Loader::kTileStride, sums);
      }
      slot = slot == kStages - 1 ? 0 : slot + 1;
    }
  }

  __device__ void group_sync() const {
    if constexpr (kConfig.warps_n == 1) {
      warp_sync();
    } else {
      named_barrier_sync(group + 1, Loader::kGroupThreads);
    }
  }

  // One 64-wide k tile: activation fragments by ldmatrix, weights decoded unit by unit.
  __device__ void multiply_tile(const unsigned char* tile, Sums& sums) const {
    const unsigned char* codes = tile + warp_n * kUnits * kUnitCodeBytes + lane * 16;
    const unsigned char* scales = tile + Loader::kCtaUnits * kUnitCodeBytes +
                                  warp_n * kUnits * kUnitScaleBytes + lane / 4 * 8;
    const u32 activations = smem_address(tile + weight_tile_bytes(kConfig));
    // Whole, but for 16 token tiles: ptxas would spill.
#pragma unroll (kBatch == 1 ? 2 : 4)
    for (int batch = 0; batch < 4; batch += kBatch) {
      u32 b[kTokenTiles][kBatch * 2];
      load_tokens(activations, batch, b);
#pragma unroll
      for (int u = 0; u < kUnits; ++u) {
        const auto words = *reinterpret_cast<const Codes*>(codes + u * kUnitCodeBytes + batch * 4);
        const auto bytes = *reinterpret_cast<const Scales*>(scales + u * kUnitScaleBytes + batch / 2 * 4);
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
          const int step = batch + i;
          u32 a[4];
          decode<kConfig.act>(words.x[i], scale_pair<kConfig.act>(bytes.x[i / 2], step), a);
#pragma unroll
          for (int t = 0; t < kTokenTiles; ++t) {
            if constexpr (kConfig.act == Activation::bf16) {
              mma_bf16(sums[u][t], a, b[t][i * 2], b[t][i * 2 + 1]);
            } else {
              mma_fp16(sums[u][t], a, b[t][i * 2], b[t][i * 2 + 1]);
            }
          }
        }
      }
    }
  }

  // The activation fragments of a batch that starts with k16 step `first`. An ldmatrix takes four 8x8
  // matrices: two steps of one token tile, or one step of two.
  __device__ void load_tokens(u32 activations, int first, u32 (&b)[kTokenTiles][kBatch * 2]) const {
    constexpr int kTiles = kBatch == 1 ? 2 : 1;
#pragma unroll
    for (int step = 0; step < kBatch; step += 2) {
#pragma unroll
      for (int t = 0; t < kTokenTiles; t += kTiles) {
        const int token = (t + lane / 16 % kTiles) * kTokenTile + lane % 8;
        const int chunk = (first + step) * 2 + lane / 8 % (4 / kTiles);
        u32 matrices[4];
        ldmatrix_x4(matrices, activations + token * 128 + ((chunk ^ (lane % 8)) * 16));
#pragma unroll
        for (int i = 0; i < 4; ++i) b[t + i / 2 % kTiles][step * 2 + i % (4 / kTiles)] = matrices[i];
      }
    }
  }

  // Sums the warp groups and stores the tile, or leaves a partial for the CTA that arrives last.
  __device__ void finish(const Scheduler& scheduler, const Segment& segment, u32 tile_n, u32 tile_m,
                         const Sums& sums) {
    float* tile = reinterpret_cast<float*>(smem);
    cta_sync();  // all groups have left their stages, whose memory the reduction takes over
    store_accumulators<kConfig>(tile + group * kConfig.block_m * reduction_pitch(kConfig), sums, warp_n, lane);
    cta_sync();
    const bool whole = segment.begin == 0 && segment.end == kSteps;
    const u32 slot = whole ? 0 : scheduler.partial_slot(blockIdx.x, segment.tile);
    for_each_row_group(tile_n, tile_m, [&](int token, int row, long long out_token, int out_row) {
      const RowSums total = sum_groups<kConfig>(tile, token, row);
      if (!uses_workspace(kConfig) || whole) {
        store_rows<kConfig>(params, outputs, total, out_token, out_row, row_factor<kN>(params, out_row));
      } else {
        float* partial = partials() + u64{slot} * (partial_bytes(kConfig) / 4) + token * kConfig.block_n + row;
        store_l2(partial, F32x4{total.x[0], total.x[1], total.x[2], total.x[3]});
        store_l2(partial + 4, F32x4{total.x[4], total.x[5], total.x[6], total.x[7]});
      }
    });
    if constexpr (uses_workspace(kConfig)) {
      if (!whole) reduce_partials(scheduler, segment.tile, tile_n, tile_m);
      cta_sync();  // the next segment's copies overwrite the reduction tile
    }
  }

  // Last arriver: counts itself in, and if it is the last of the tile's CTAs adds all partials in the
  // order of their k ranges. No CTA ever waits for another.
  __device__ void reduce_partials(const Scheduler& scheduler, u32 tile, u32 tile_n, u32 tile_m) {
    __shared__ u32 arrived;
    const u32 first = scheduler.first_contributor(tile);
    const u32 last = scheduler.last_contributor(tile);
    u32* counter = static_cast<u32*>(params.workspace) + tile;
    fence_gpu();
    cta_sync();
    if (threadIdx.x == 0) {
      arrived = atomic_add(counter, 1);
      if (arrived == last - first) *counter = 0;  // left zero for the next launch
    }
    cta_sync();
    if (arrived != last - first) return;
    fence_gpu();
    for_each_row_group(tile_n, tile_m, [&](int token, int row, long long out_token, int out_row) {
      RowSums total = {};
      for (u32 cta = first; cta <= last; ++cta) {
        const u64 slot = scheduler.partial_slot(cta, tile);
        const float* partial = partials() + slot * (partial_bytes(kConfig) / 4) + token * kConfig.block_n + row;
        const F32x4 low = load_l2(partial);
        const F32x4 high = load_l2(partial + 4);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          total.x[i] += low.x[i];
          total.x[i + 4] += high.x[i];
        }
      }
      store_rows<kConfig>(params, outputs, total, out_token, out_row, row_factor<kN>(params, out_row));
    });
  }

  __device__ float* partials() const {
    return reinterpret_cast<float*>(static_cast<unsigned char*>(params.workspace) + params.partials_offset);
  }

  // Calls body(token, row, out token, out row) for every group of 8 rows of the tile's existing tokens;
  // consecutive threads take consecutive rows, so stores are coalesced.
  template <typename Body>
  __device__ void for_each_row_group(u32 tile_n, u32 tile_m, Body body) const {
    constexpr int kRowGroups = kConfig.block_n / kRowsPerThread;
    const int left = params.m - static_cast<int>(tile_m) * kConfig.block_m;
    const int tokens = left < kConfig.block_m ? left : kConfig.block_m;
    for (int e = static_cast<int>(threadIdx.x); e < tokens * kRowGroups; e += threads(kConfig)) {
      const int token = e / kRowGroups;
      const int row = e % kRowGroups * kRowsPerThread;
      body(token, row, static_cast<long long>(tile_m) * kConfig.block_m + token,
           static_cast<int>(tile_n) * kConfig.block_n + row);
    }
  }
};

template <KernelConfig kConfig, int kN, int kK, typename Outputs>
__device__ __forceinline__ void gemm_mma(const GemmParams& params, Outputs outputs) {
  extern __shared__ __align__(128) unsigned char smem[];
  GemmMma<kConfig, kN, kK, Outputs>(params, outputs, smem).run(blockIdx.x, gridDim.x);
}

}  // namespace nvfp4
