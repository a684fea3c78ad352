// SPDX-License-Identifier: Apache-2.0
// From accumulators to the output: the warp groups' sums meet in shared memory, partial tiles of
// several CTAs in the workspace, always in a fixed order, so that results are bit-identical from run
// to run. Then out = round(fma(sum, 128 * g, bias)), stored 16 bytes a thread where alignment allows.
#pragma once

#include "gemm_params.h"
#include "kernel_config.h"
#include "outputs.cuh"
#include "packed_layout.h"
#include "ptx.cuh"

namespace nvfp4 {

constexpr int kRowsPerThread = 8;  ///< consecutive output rows (n) a thread finishes: 16 bytes of bf16

struct RowSums {
  float x[kRowsPerThread];
};

/// Writes a warp's accumulators into its group's slab of the reduction tile: [token][row], pitch
/// reduction_pitch. Lane l holds rows l/4 (+8) and tokens 2(l%4) (+1) of each fragment; with a pitch of
/// 4 mod 32 floats the 32 lanes hit 32 banks.
template <KernelConfig kConfig, int kUnits, int kTokenTiles>
__device__ __forceinline__ void store_accumulators(float* slab, const float (&sums)[kUnits][kTokenTiles][4],
                                                   int warp_n, int lane) {
  constexpr int kPitch = reduction_pitch(kConfig);
  float* corner = slab + lane % 4 * 2 * kPitch + warp_n * kUnits * kUnitRows + lane / 4;
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
#pragma unroll
    for (int t = 0; t < kTokenTiles; ++t) {
      float* at = corner + t * kTokenTile * kPitch + u * kUnitRows;
      at[0] = sums[u][t][0];
      at[kPitch] = sums[u][t][1];
      at[8] = sums[u][t][2];
      at[kPitch + 8] = sums[u][t][3];
    }
  }
}

/// Adds the slabs of all warp groups, group 0 first.
template <KernelConfig kConfig>
__device__ __forceinline__ RowSums sum_groups(const float* tile, int token, int row) {
  RowSums total = {};
#pragma unroll
  for (int group = 0; group < kConfig.warps_k; ++group) {
    const float* slab = tile + (group * kConfig.block_m + token) * reduction_pitch(kConfig) + row;
    const F32x4 low = *reinterpret_cast<const F32x4*>(slab);
    const F32x4 high = *reinterpret_cast<const F32x4*>(slab + 4);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      total.x[i] = group == 0 ? low.x[i] : total.x[i] + low.x[i];
      total.x[i + 4] = group == 0 ? high.x[i] : total.x[i + 4] + high.x[i];
    }
  }
  return total;
}

template <Activation kAct>
__device__ __forceinline__ float bias_value(const void* bias, int row) {
  const unsigned short bits = static_cast<const unsigned short*>(bias)[row];
  if constexpr (kAct == Activation::fp16) return f16_to_float(bits);
  return __uint_as_float(u32{bits} << 16);
}

/// What turns a sum of row `row` into an output; 0 beyond the matrix, whose rows are never stored.
template <int kN>
__device__ __forceinline__ float row_factor(const GemmParams& params, int row) {
  return row < kN ? kDecodeFactor * params.global_scales[row / kTileRows] : 0.0f;
}

/// Finishes rows [row, row + 8) of one token: scale, bias, one rounding, store.
template <KernelConfig kConfig, typename Outputs>
__device__ __forceinline__ void store_rows(const GemmParams& params, const Outputs& outputs, RowSums sums,
                                           long long token, int row, float factor) {
  const OutputRows rows = outputs.of(row);
  if (rows.row >= rows.count) return;
  const int count = rows.count - rows.row < kRowsPerThread ? rows.count - rows.row : kRowsPerThread;
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) {
    const float bias = params.bias && i < count ? bias_value<kConfig.act>(params.bias, row + i) : 0.0f;
    sums.x[i] = params.bias ? __fmaf_rn(sums.x[i], factor, bias) : sums.x[i] * factor;
  }
  const int size = params.out_type == OutputType::fp32 ? 4 : 2;
  unsigned char* out = rows.out + (token * rows.ldo + rows.row) * size;
  const bool vector = count == kRowsPerThread && (reinterpret_cast<u64>(out) & 15) == 0;
  if (params.out_type == OutputType::fp32) {
    float* target = reinterpret_cast<float*>(out);
    if (vector) {
      *reinterpret_cast<F32x4*>(target) = F32x4{sums.x[0], sums.x[1], sums.x[2], sums.x[3]};
      *reinterpret_cast<F32x4*>(target + 4) = F32x4{sums.x[4], sums.x[5], sums.x[6], sums.x[7]};
    } else {
      for (int i = 0; i < kRowsPerThread; ++i) {
        if (i < count) target[i] = sums.x[i];
      }
    }
    return;
  }
  U32x4 packed;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    packed.x[i] = params.out_type == OutputType::bf16 ? pack_bf16x2(sums.x[2 * i], sums.x[2 * i + 1])
                                                      : pack_f16x2(sums.x[2 * i], sums.x[2 * i + 1]);
  }
  if (vector) {
    *reinterpret_cast<U32x4*>(out) = packed;
  } else {
    unsigned short* target = reinterpret_cast<unsigned short*>(out);
#pragma unroll
    for (int i = 0; i < kRowsPerThread; ++i) {
      if (i < count) target[i] = static_cast<unsigned short>(packed.x[i / 2] >> (i % 2 * 16));
    }
  }
}

}  // namespace nvfp4
