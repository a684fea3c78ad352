// SPDX-License-Identifier: Apache-2.0
// Weights from one form to another on the device (templates/weights.cuh).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "runtime/cuda.h"
#include "runtime/nvfp4_gemm.h"
#include "templates/weights_params.h"

namespace nvfp4 {

/// The kernels of one device, loaded. Launches are asynchronous, in stream order, and may be
/// captured, unless said otherwise. Throws CudaError; the device's context must be current.
class WeightKernels {
 public:
  /// Compiles or finds them in the cache. Throws CompilerError or CudaError.
  explicit WeightKernels(const Runtime& runtime);
  /// From what weights.cuh was compiled to: a cubin, or PTX for an emulated device.
  WeightKernels(const Gpu& gpu, std::string_view image);

  /// params.codes and scales to params.packed. Returns the first row with a NaN scale, if any: so
  /// it waits for the stream.
  std::optional<int64_t> pack(WeightsParams params, CUstream stream) const;

  /// params.packed to params.codes and scales.
  void unpack(const WeightsParams& params, CUstream stream) const;

  /// params.packed, or params.codes and scales where that is null, to params.out.
  void dequantize(const WeightsParams& params, CUstream stream) const;

 private:
  void launch(CUfunction function, int64_t ctas, const WeightsParams& params,
              CUstream stream) const;

  Gpu gpu_;
  Module module_;
};

}  // namespace nvfp4
