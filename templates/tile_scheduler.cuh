// SPDX-License-Identifier: Apache-2.0
// Which output tiles and which part of k a worker works on: a CTA, or for wgmma a cluster. The work is one
// line of steps, tile after tile, each tile kSteps pipeline steps long, and every worker owns one contiguous
// piece of it:
//
//   tile      0          1          2          3
//   steps   |----------|----------|----------|----------|
//   data-parallel   CTA 0      1          2          3
//   split-K = 2     0    1     2    3     4    5     6    7
//   stream-K        0      1       2       3       4       (pieces of equal length)
//
// The three schedules differ in where a piece starts and in nothing else. Tiles run over tokens first, so that
// workers that run together read the same weights from L2.
//
// Workers of the wgmma family take whole tiles first, every workers-th: all of them, or under stream-K as many
// as leave each worker one to two tiles' steps of the line. A line of everything would have the workers of a
// large M in as many places of k and of the tokens as there are workers, and none of it in L2.
#pragma once

#include "gemm_params.h"
#include "kernel_config.h"
#include "ptx.cuh"

namespace nvfp4 {

/// The steps [begin, end) of one tile that this worker multiplies.
struct Segment {
  u32 tile;
  int begin;
  int end;
};

template <KernelConfig kConfig, int kN, int kSteps>
struct TileScheduler {
  static constexpr u32 kRows = kConfig.block_n * kConfig.cluster_n;
  static constexpr u32 kTilesN = (kN + kRows - 1) / kRows;
  static constexpr bool kWholeFirst = is_wgmma(kConfig);
  static constexpr bool kLine = !kWholeFirst || kConfig.schedule == Schedule::stream_k;

  u32 worker;
  u32 workers;
  u32 tile;      ///< next whole tile of this worker
  u32 whole;     ///< tiles that are dealt out whole; the line begins behind them
  u32 tiles;     ///< of the line
  u32 position;  ///< next step of this worker on the line
  u32 limit;     ///< first step of the next worker

  __device__ TileScheduler(const GemmParams& params, u32 w, u32 all) : worker(w), workers(all), tile(w), whole(0) {
    tiles = kTilesN * params.tiles_m;
    if constexpr (kWholeFirst) {
      whole = !kLine ? tiles : tiles < 2 * workers ? 0 : (tiles / workers - 1) * workers;
      tiles -= whole;
    }
    position = kLine ? start(worker) : 0;
    limit = kLine ? start(worker + 1) : 0;
  }

  /// First step of worker `w`. 32 bits suffice: the host refuses stream-K beyond 2^31 steps.
  __device__ u32 start(u32 w) const {
    if constexpr (kConfig.schedule == Schedule::data_parallel) {
      return w * kSteps;
    } else if constexpr (kConfig.schedule == Schedule::split_k) {
      return w / kConfig.split_k * kSteps + w % kConfig.split_k * kSteps / kConfig.split_k;
    } else {
      const u32 share = tiles * kSteps / workers;
      const u32 rest = tiles * kSteps % workers;
      return w * share + (w < rest ? w : rest);
    }
  }

  /// The worker whose piece holds `step`.
  __device__ u32 owner(u32 step) const {
    const u32 share = tiles * kSteps / workers;
    const u32 rest = tiles * kSteps % workers;
    const u32 longer = rest * (share + 1);  // steps owned by the workers with one step more
    return step < longer ? step / (share + 1) : rest + (step - longer) / share;
  }

  __device__ bool has_work() const { return (kWholeFirst && tile < whole) || position < limit; }

  __device__ Segment next() {
    Segment segment;
    if (kWholeFirst && (!kLine || tile < whole)) {
      segment = {tile, 0, kSteps};
      tile += workers;
      return segment;
    }
    if constexpr (kConfig.schedule == Schedule::split_k) {
      segment.tile = worker / kConfig.split_k;
    } else if constexpr (kConfig.schedule == Schedule::data_parallel) {
      segment.tile = worker;
    } else {
      segment.tile = position / kSteps;
    }
    const u32 origin = segment.tile * kSteps;
    segment.begin = static_cast<int>(position - origin);
    segment.end = static_cast<int>(limit - origin < kSteps ? limit - origin : kSteps);
    position = origin + segment.end;
    if constexpr (kWholeFirst) segment.tile += whole;
    return segment;
  }

  /// Workers [first, last] that hold a partial of `tile`.
  __device__ u32 first_contributor(u32 tile) const {
    if constexpr (kConfig.schedule == Schedule::split_k) return tile * kConfig.split_k;
    return owner(tile * kSteps);
  }
  __device__ u32 last_contributor(u32 tile) const {
    if constexpr (kConfig.schedule == Schedule::split_k) return tile * kConfig.split_k + kConfig.split_k - 1;
    return owner(tile * kSteps + kSteps - 1);
  }

  /// Where in the workspace worker `w` leaves its partial of `tile`. Under stream-K a worker shares at most
  /// two tiles with others: the one its piece starts in and the one it ends in.
  __device__ u32 partial_slot(u32 w, u32 tile) const {
    if constexpr (kConfig.schedule == Schedule::split_k) return w;
    return 2 * w + (start(w) >= tile * kSteps ? 0 : 1);
  }
};

}  // namespace nvfp4
