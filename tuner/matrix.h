// SPDX-License-Identifier: Apache-2.0
// The time of a bf16 matrix product in cuBLASLt, on cold weights and in a graph: measured as our
// own kernels are, so that the two can stand side by side.
#pragma once

#include <cstdint>

#include "tuner/cublas.h"
#include "tuner/jobs.h"
#include "tuner/measure.h"

namespace nvfp4 {

/// out[m, n] = activations[m, k] x weights[n, k]^T by the fastest of the algorithms that cuBLASLt
/// proposes. Throws CublasError, or MeasureError when the product is wrong.
PolicyTimes time_matrix(const Gpu& gpu, const Cublas& cublas, int64_t n, int64_t k, int64_t m);

}  // namespace nvfp4
