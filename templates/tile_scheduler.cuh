// SPDX-License-Identifier: Apache-2.0
// Which output tiles and which part of k a CTA works on. The work is one line of steps, tile after
// tile, each tile kSteps pipeline steps long, and every CTA owns one contiguous piece of it:
//
//   tile      0          1          2          3
//   steps   |----------|----------|----------|----------|
//   data-parallel   CTA 0      1          2          3
//   split-K = 2     0    1     2    3     4    5     6    7
//   stream-K        0      1       2       3       4       (pieces of equal length)
//
// The three schedules differ in where a piece starts and in nothing else. Tiles run over tokens
// first, so that CTAs that run together read the same weights from L2.
#pragma once

#include "gemm_params.h"
#include "kernel_config.h"
#include "ptx.cuh"

namespace nvfp4 {

/// The steps [begin, end) of one tile that this CTA multiplies.
struct Segment {
  u32 tile;
  int begin;
  int end;
};

template <KernelConfig kConfig, int kN, int kSteps>
struct TileScheduler {
  static constexpr u32 kTilesN = (kN + kConfig.block_n - 1) / kConfig.block_n;

  u32 total;     ///< steps of the whole line (stream-K only)
  u32 position;  ///< next step of this CTA
  u32 limit;     ///< first step of the next CTA

  __device__ explicit TileScheduler(const GemmParams& params) {
    total = kConfig.schedule == Schedule::stream_k ? kTilesN * params.tiles_m * kSteps : 0;
    position = start(blockIdx.x);
    limit = start(blockIdx.x + 1);
  }

  /// First step of CTA `cta`. 32 bits suffice: the host refuses stream-K beyond 2^31 steps.
  __device__ u32 start(u32 cta) const {
    if constexpr (kConfig.schedule == Schedule::data_parallel) {
      return cta * kSteps;
    } else if constexpr (kConfig.schedule == Schedule::split_k) {
      return cta / kConfig.split_k * kSteps + cta % kConfig.split_k * kSteps / kConfig.split_k;
    } else {
      const u32 share = total / gridDim.x;
      const u32 rest = total % gridDim.x;
      return cta * share + (cta < rest ? cta : rest);
    }
  }

  /// The CTA whose piece holds `step`.
  __device__ u32 owner(u32 step) const {
    const u32 share = total / gridDim.x;
    const u32 longer = total % gridDim.x * (share + 1);  // steps owned by the CTAs with one step more
    return step < longer ? step / (share + 1) : total % gridDim.x + (step - longer) / share;
  }

  __device__ bool has_work() const { return position < limit; }

  __device__ Segment next() {
    Segment segment;
    if constexpr (kConfig.schedule == Schedule::split_k) {
      segment.tile = blockIdx.x / kConfig.split_k;
    } else if constexpr (kConfig.schedule == Schedule::data_parallel) {
      segment.tile = blockIdx.x;
    } else {
      segment.tile = position / kSteps;
    }
    const u32 origin = segment.tile * kSteps;
    segment.begin = static_cast<int>(position - origin);
    segment.end = static_cast<int>(limit - origin < kSteps ? limit - origin : kSteps);
    position = origin + segment.end;
    return segment;
  }

  /// CTAs [first, last] that hold a partial of `tile`.
  __device__ u32 first_contributor(u32 tile) const {
    if constexpr (kConfig.schedule == Schedule::split_k) return tile * kConfig.split_k;
    return owner(tile * kSteps);
  }
  __device__ u32 last_contributor(u32 tile) const {
    if constexpr (kConfig.schedule == Schedule::split_k) return tile * kConfig.split_k + kConfig.split_k - 1;
    return owner(tile * kSteps + kSteps - 1);
  }

  /// Where in the workspace `cta` leaves its partial of `tile`. Under stream-K a CTA shares at most two
  /// tiles with others: the one its piece starts in and the one it ends in.
  __device__ u32 partial_slot(u32 cta, u32 tile) const {
    if constexpr (kConfig.schedule == Schedule::split_k) return cta;
    return 2 * cta + (start(cta) >= tile * kSteps ? 0 : 1);
  }
};

}  // namespace nvfp4
