// SPDX-License-Identifier: Apache-2.0
// The slow, obvious NVFP4 GEMM that defines "correct": double precision, straight from the
// checkpoint form, never through the packed bytes. It can be held to chosen weight rows, so that
// shapes of any size have a reference.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "templates/gemm_params.h"
#include "templates/kernel_config.h"

namespace nvfp4 {

enum class AbsSums { no, yes };

struct ReferenceSums {
  std::vector<double> sums;  ///< [m, rows] sum_k A[m, k] * E2M1 * E4M3: no global scale, no bias
  std::vector<double>
      abs_sums;  ///< the same of magnitudes, for error bounds; empty if not asked for
};

/// A in the activation type with row stride `lda`, W in checkpoint form ([.., k/2] codes, [..,
/// k/16] scales). `rows` lists the weight rows wanted, in any order.
ReferenceSums reference_sums(std::span<const uint16_t> activations, Activation act, int64_t m,
                             int64_t lda, std::span<const uint8_t> codes,
                             std::span<const uint8_t> scales, int64_t k,
                             std::span<const int64_t> rows, AbsSums abs_sums, int threads);

/// The value that the epilogue makes of a sum: round_T(fmaf(sum / 128, 128 * g, bias)), widened to
/// float. Exactly what a kernel stores when `sum` is exact in FP32.
float reference_output(double sum, float global_scale, float bias, OutputType out_type);

/// Elements of an output or activation buffer, widened to float (exact).
float activation_value(uint16_t bits, Activation act);
float output_value(const void* out, int64_t index, OutputType out_type);

/// Bytes of one element: 2, 2, 4.
int output_bytes(OutputType out_type);

}  // namespace nvfp4
