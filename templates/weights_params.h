// SPDX-License-Identifier: Apache-2.0
// The launch arguments of the kernels that move weights between their forms (weights.cuh).
#pragma once

namespace nvfp4 {

enum class WeightType : int { bf16 = 0, fp16 = 1, fp32 = 2, fp8_e4m3 = 3 };

/// One matrix of n rows and k columns, in the forms that a kernel reads or writes.
struct WeightsParams {
  unsigned char* packed;       ///< tiles of packed_layout.h, 16-byte aligned
  unsigned char* codes;        ///< [n, k/2] E2M1, rows 8-byte aligned
  unsigned char* scales;       ///< [n, k/16] E4M3, or FP32 with the global scale in them
  const float* global_scales;  ///< one per 64 rows of `packed`
  void* out;                   ///< [n, k] of `out_type`, 16-byte aligned
  unsigned* first_nan_row;     ///< least row with a NaN scale, if any
  long long codes_stride;      ///< bytes from row to row
  long long scales_stride;
  int n;
  int k;
  float global_scale;          ///< of E4M3 scales
  WeightType scale_type;       ///< fp8_e4m3 or fp32
  WeightType out_type;
};

constexpr int kWeightsThreads = 128;  ///< of a CTA: one tile, or as many blocks of a checkpoint's form

}  // namespace nvfp4
