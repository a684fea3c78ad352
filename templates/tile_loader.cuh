// SPDX-License-Identifier: Apache-2.0
// Global -> shared copies of one pipeline stage: the packed weights of the warp's own units and the
// warp group's share of the activations.
//
//   stage    one 64-wide k tile after the other, each
//            | codes: block_n/16 units x 512 | scales: block_n/16 x 64 | pad | activations |
//   activations: one 128-byte row a token; its eight 16-byte chunks are XOR-swizzled by token % 8, so
//   that the eight rows an ldmatrix reads lie in eight different bank groups.
#pragma once

#include "gemm_params.h"
#include "kernel_config.h"
#include "packed_layout.h"
#include "ptx.cuh"

namespace nvfp4 {

template <KernelConfig kConfig, int kN, int kK>
struct TileLoader {
  static constexpr int kUnits = units_per_warp(kConfig);
  static constexpr int kCtaUnits = kConfig.block_n / kUnitRows;
  static constexpr int kKTiles = (kK + kTileK - 1) / kTileK;
  static constexpr int kMatrixUnits = (kN + kTileRows - 1) / kTileRows * (kTileRows / kUnitRows);
  static constexpr int kGroupThreads = kConfig.warps_n * kWarpThreads;
  static constexpr int kTileStride = weight_tile_bytes(kConfig) + activation_tile_bytes(kConfig);
  static constexpr u64 kRowTileBytes = u64{kKTiles} * kTileBytes;
  // Row tiles hold four units: when warps start on a row tile, every offset below is a constant.
  static constexpr bool kAligned = kUnits % 4 == 0 && kCtaUnits % 4 == 0;
  static constexpr bool kRaggedN = kMatrixUnits % kCtaUnits != 0;
  static constexpr bool kRaggedK = kKTiles % k_tiles_per_stage(kConfig) != 0;

  u32 pipeline;                  ///< shared address of this warp group's stages
  int lane;
  int warp_n;                    ///< this warp within its group
  const unsigned char* weights;  ///< row tile of the warp's first unit
  int phase;                     ///< that unit's place in its row tile, 0 if kAligned
  int units_left;                ///< units of the matrix from the warp's first on
  const unsigned char* rows;     ///< activations: this thread's first token and chunk
  u64 row_pitch;                 ///< bytes between this thread's tokens
  int tokens_left;               ///< tokens of the problem from this thread's first on
  int chunk;                     ///< 16-byte chunk of a 64-wide k tile that this thread copies

  __device__ void set_weights(const GemmParams& params, u32 tile_n) {
    const int unit = static_cast<int>(tile_n) * kCtaUnits + warp_n * kUnits;
    phase = kAligned ? 0 : unit % 4;
    units_left = kMatrixUnits - unit;
    weights = static_cast<const unsigned char*>(params.weights) + unit / 4 * kRowTileBytes;
  }

  __device__ void set_activations(const GemmParams& params, u32 tile_m) {
    const int thread = warp_n * kWarpThreads + lane;
    const int token = static_cast<int>(tile_m) * kConfig.block_m + thread / 8;
    chunk = thread % 8;
    tokens_left = params.m - token;
    rows = static_cast<const unsigned char*>(params.activations) + token * params.lda * 2 + chunk * 16;
    row_pitch = params.lda * (2 * kGroupThreads / 8);
  }

  /// Copies the warp's units of step `step` into stage `slot`.
  __device__ void load_weights(int slot, int step) const {
#pragma unroll
    for (int j = 0; j < k_tiles_per_stage(kConfig); ++j) {
      const int k_tile = step * k_tiles_per_stage(kConfig) + j;
      const bool inside = !kRaggedK || k_tile < kKTiles;
      const u32 target = pipeline + slot * stage_bytes(kConfig) + j * kTileStride;
      const unsigned char* source = weights + (inside ? k_tile : 0) * kTileBytes;
#pragma unroll
      for (int u = 0; u < kUnits; ++u) {
        const int place = phase + u;
        copy(target + (warp_n * kUnits + u) * kUnitCodeBytes + lane * 16,
             source + place / 4 * kRowTileBytes + place % 4 * kUnitCodeBytes + lane * 16,
             inside && u < units_left);
      }
#pragma unroll
      for (int c = 0; c < kUnits * 4; c += kWarpThreads) {
        const int u = (c + lane) / 4;
        const int place = phase + u;
        if (kUnits * 4 % kWarpThreads != 0 && u >= kUnits) continue;
        copy(target + kCtaUnits * kUnitCodeBytes + (warp_n * kUnits + u) * kUnitScaleBytes + lane % 4 * 16,
             source + place / 4 * kRowTileBytes + kTileScaleOffset + place % 4 * kUnitScaleBytes +
                 lane % 4 * 16,
             inside && u < units_left);
      }
    }
  }

  /// Copies this thread's part of the activations of step `step` into stage `slot`. Tokens beyond M and
  /// k beyond K become zeros and are never read.
  __device__ void load_activations(int slot, int step) const {
#pragma unroll
    for (int j = 0; j < k_tiles_per_stage(kConfig); ++j) {
      const int k = (step * k_tiles_per_stage(kConfig) + j) * kTileK;
      const u32 target =
          pipeline + slot * stage_bytes(kConfig) + j * kTileStride + weight_tile_bytes(kConfig);
      const bool inside = kK % kTileK == 0 && !kRaggedK ? true : k + chunk * 8 < kK;
      const unsigned char* source = rows + u64{2} * k;
#pragma unroll
      for (int t = 0; t < kConfig.block_m; t += kGroupThreads / 8) {
        const int token = t + (warp_n * kWarpThreads + lane) / 8;
        if (kConfig.block_m % (kGroupThreads / 8) != 0 && token >= kConfig.block_m) continue;
        const bool valid = inside && t < tokens_left;
        cp_async_16_or_zero(target + token * 128 + ((chunk ^ (token % 8)) * 16),
                            valid ? source : rows_base(), valid);
        source += row_pitch;
      }
    }
  }

 private:
  // An address that is always mapped, for copies that read nothing.
  __device__ const unsigned char* rows_base() const { return weights; }

  __device__ static void copy(u32 target, const unsigned char* source, bool valid) {
    if constexpr (kRaggedN || kRaggedK) {
      cp_async_16_or_zero(target, source, valid);
    } else {
      cp_async_16(target, source);
    }
  }
};

}  // namespace nvfp4
