// SPDX-License-Identifier: Apache-2.0
// The launch arguments of a kernel: one trivially copyable struct, passed by value.
#pragma once

namespace nvfp4 {

enum class OutputType : int { bf16 = 0, fp16 = 1, fp32 = 2 };

/// out[m, n] = round(fma(sum_k A[m, k] * W[n, k] * 2^-7, 128 * g(n), bias[n]))
struct GemmParams {
  const void* weights;          ///< packed, layout 1 (packed_layout.h), 16-byte aligned
  const void* activations;      ///< [m, K] bf16 or fp16, rows 16-byte aligned
  void* out;                    ///< [m, N] of `out_type`
  const void* bias;             ///< [N] of the activation type, or null
  const float* global_scales;   ///< one g per 64-row tile: ceil(N / 64) floats
  void* workspace;              ///< [counters | partials], null when the config needs none
  long long lda;                ///< row stride of activations, in elements, a multiple of 8
  long long ldo;                ///< row stride of out, in elements
  int m;                        ///< tokens, >= 1
  int tiles_m;                  ///< ceil(m / block_m)
  OutputType out_type;
  unsigned partials_offset;     ///< bytes from workspace to the first partial
};
static_assert(sizeof(GemmParams) == 80);

constexpr int kMaxParts = 8;

/// The outputs of a stack's parts, instead of `out` and `ldo` above.
struct OutputParts {
  void* out[kMaxParts];       ///< [m, rows] of `out_type`
  long long ldo[kMaxParts];   ///< row strides, in elements
  int first_row[kMaxParts];   ///< in the packed matrix, multiples of 64, ascending
  int rows[kMaxParts];        ///< without the gap behind them
  int count;
};

/// Whose tokens a grouped launch has: those of expert e are rows [offsets[e], offsets[e + 1]) of the
/// activations and of the output. Weights, scales and bias of the experts follow one another.
struct Groups {
  const int* offsets;  ///< [experts + 1], ascending from 0; the last is at most GemmParams::m
  int experts;
};

}  // namespace nvfp4
