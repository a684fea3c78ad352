// SPDX-License-Identifier: Apache-2.0
// A strip of the wgmma family: the block_n weight rows of one CTA, whole 64-row tiles of the packed form,
// and their weights in one stage of the ring: tile by tile, all k tiles of the stage, as they lie in
// memory. One bulk copy a tile.
//
// Strips at 16-row granularity were tried, to fill 123 SMs and not 112 with 21504 rows. They cost more than
// they gain at 21504 x 5376, M = 32 (H100): 54 us with bulk copies, two a unit and k tile; 27.2 with
// cp.async by four producer warps; 26.4 with whole tiles.
#pragma once

#include "gemm_params.h"
#include "kernel_config.h"
#include "packed_layout.h"
#include "ptx_hopper.cuh"

namespace nvfp4 {

template <KernelConfig kConfig, int kN, int kK>
struct Strip {
  static constexpr int kTiles = kConfig.block_n / kTileRows;
  static constexpr int kMatrixTiles = (kN + kTileRows - 1) / kTileRows;
  static constexpr int kKTiles = (kK + kTileK - 1) / kTileK;
  static constexpr int kStageTiles = k_tiles_per_stage(kConfig);
  static constexpr int kTileStride = kStageTiles * kTileBytes;  ///< of one 64-row tile in a stage
  static constexpr int kBytes = kTiles * kTileStride;           ///< of a stage

  int first;  ///< 64-row tile of the matrix

  /// Starts the copies of step `step` to `target`: kBytes in all. By one thread. What lies beyond the matrix
  /// repeats its last tile: beyond N nothing is stored, beyond K the activations are zeros.
  __device__ void load(const GemmParams& params, int step, u32 target, u32 barrier) const {
    const unsigned char* weights = static_cast<const unsigned char*>(params.weights);
    const bool whole = kKTiles % kStageTiles == 0 || (step + 1) * kStageTiles <= kKTiles;
#pragma unroll
    for (int r = 0; r < kTiles; ++r) {
      const int tile = first + r < kMatrixTiles ? first + r : kMatrixTiles - 1;
      const unsigned char* row = weights + u64(tile) * (u64{kKTiles} * kTileBytes);
      if (whole) {
        bulk_copy(target + r * kTileStride, row + u64(step) * kTileStride, kTileStride, barrier);
      } else {
        for (int j = 0; j < kStageTiles; ++j) {
          const int k_tile = step * kStageTiles + j < kKTiles ? step * kStageTiles + j : kKTiles - 1;
          bulk_copy(target + r * kTileStride + j * kTileBytes, row + u64(k_tile) * kTileBytes, kTileBytes, barrier);
        }
      }
    }
  }
};

}  // namespace nvfp4
