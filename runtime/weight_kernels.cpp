// SPDX-License-Identifier: Apache-2.0
#include "runtime/weight_kernels.h"

#include <array>
#include <span>
#include <string>
#include <utility>

#include "templates/packed_layout.h"

namespace nvfp4 {
namespace {

std::string image_of(const Runtime& runtime) {
  Compilation compilation = runtime.compile("#include \"weights.cuh\"\n");
  return std::move(runtime.gpu().emulated() ? compilation.ptx : compilation.cubin);
}

}  // namespace

WeightKernels::WeightKernels(const Runtime& runtime)
    : WeightKernels(runtime.gpu(), image_of(runtime)) {}

WeightKernels::WeightKernels(const Gpu& gpu, std::string_view image)
    : gpu_(gpu), module_(gpu, image) {}

std::optional<int64_t> WeightKernels::pack(WeightsParams params, CUstream stream) const {
  constexpr unsigned kNone = ~0u;
  unsigned first = kNone;
  DeviceBuffer found(gpu_, sizeof first);
  found.fill(std::byte{0xff}, stream);
  params.first_nan_row = found.as<unsigned>();
  launch(module_.function("nvfp4_pack_weights"), packed_tiles(params.n, params.k), params, stream);
  gpu_.check(gpu_.driver().stream_synchronize(stream), "cuStreamSynchronize");
  found.download(std::as_writable_bytes(std::span(&first, 1)));
  if (first == kNone) return std::nullopt;
  return first;
}

void WeightKernels::unpack(const WeightsParams& params, CUstream stream) const {
  launch(module_.function("nvfp4_unpack_weights"), packed_tiles(params.n, params.k), params,
         stream);
}

void WeightKernels::dequantize(const WeightsParams& params, CUstream stream) const {
  if (params.packed != nullptr) {
    launch(module_.function("nvfp4_dequantize_packed"), packed_tiles(params.n, params.k), params,
           stream);
    return;
  }
  const int64_t blocks = int64_t{params.n} * (params.k / kBlockSize);
  launch(module_.function("nvfp4_dequantize_checkpoint"),
         (blocks + kWeightsThreads - 1) / kWeightsThreads, params, stream);
}

void WeightKernels::launch(CUfunction function, int64_t ctas, const WeightsParams& params,
                           CUstream stream) const {
  CUlaunchConfig config{};
  config.gridDimX = static_cast<unsigned>(ctas);
  config.gridDimY = config.gridDimZ = 1;
  config.blockDimX = kWeightsThreads;
  config.blockDimY = config.blockDimZ = 1;
  config.hStream = stream;
  void* arguments[] = {const_cast<WeightsParams*>(&params)};
  gpu_.check(gpu_.driver().launch_kernel_ex(&config, function, arguments, nullptr),
             "cuLaunchKernelEx");
}

}  // namespace nvfp4
