// SPDX-License-Identifier: Apache-2.0
// Loads and launches a GEMM kernel. All that can fail for reasons of resources fails at load.
#include "runtime/kernel.h"

#include <fmt/format.h>

#include <array>

#include "generator/emit.h"
#include "templates/packed_layout.h"

namespace nvfp4 {
namespace {

int attribute(const Gpu& gpu, CUfunction function, CUfunction_attribute which) {
  int value = 0;
  gpu.check(gpu.driver().func_get_attribute(&value, which, function), "cuFuncGetAttribute");
  return value;
}

}  // namespace

Kernel::Kernel(const Gpu& gpu, std::string_view image, int smem_bytes)
    : gpu_(gpu),
      module_(gpu, image),
      function_(module_.function(kKernelName)),
      smem_bytes_(smem_bytes),
      registers_(attribute(gpu, function_, CU_FUNC_ATTRIBUTE_NUM_REGS)),
      local_bytes_(attribute(gpu, function_, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)) {
  const CUresult result = gpu.driver().func_set_attribute(
      function_, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, smem_bytes);
  if (result == CUDA_SUCCESS) return;
  throw CudaError(gpu.driver(), result,
                  fmt::format("shared memory of {} bytes, device {} has {}", smem_bytes,
                              gpu.facts().name, gpu.facts().smem_per_block));
}

int Kernel::resident_ctas(int threads) const {
  int ctas = 0;
  gpu_.check(gpu_.driver().occupancy_max_active_blocks(&ctas, function_, threads, smem_bytes_),
             "cuOccupancyMaxActiveBlocksPerMultiprocessor");
  return ctas;
}

void Kernel::launch(const GemmParams& params, const LaunchPlan& plan, Pdl pdl, CUstream stream,
                    const void* extra) const {
  const CUresult result = try_launch(params, plan, pdl, stream, extra);
  if (result == CUDA_SUCCESS) return;
  throw CudaError(gpu_.driver(), result,
                  fmt::format("launch of {} CTAs x {} threads with {} bytes of shared memory",
                              plan.grid, plan.threads, plan.smem_bytes));
}

namespace {

// The activations for the copy engine: [m, k] with row stride lda; what lies outside reads as zero.
CUresult encode_activations(const DriverTable& driver, const GemmParams& params,
                            const LaunchPlan& plan, CUtensorMap& map) noexcept {
  if (driver.tensor_map_encode_tiled == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(plan.k), static_cast<cuuint64_t>(params.m)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(params.lda) * 2};
  const cuuint32_t box[] = {kTileK, static_cast<cuuint32_t>(plan.box_tokens)};
  const cuuint32_t steps[] = {1, 1};
  return driver.tensor_map_encode_tiled(
      &map,
      plan.act == Activation::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                   : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
      2, const_cast<void*>(params.activations), sizes, strides, box, steps,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

}  // namespace

CUresult Kernel::try_launch(const GemmParams& params, const LaunchPlan& plan, Pdl pdl,
                            CUstream stream, const void* extra) const noexcept {
  if (plan.grid == 0) return CUDA_SUCCESS;
  std::array<CUlaunchAttribute, 2> attributes{};
  CUlaunchConfig config{};
  if (pdl == Pdl::on) {
    CUlaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
  }
  if (plan.cluster > 1) {
    CUlaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim = {static_cast<unsigned>(plan.cluster), 1, 1};
  }
  config.gridDimX = static_cast<unsigned>(plan.grid);
  config.gridDimY = config.gridDimZ = 1;
  config.blockDimX = static_cast<unsigned>(plan.threads);
  config.blockDimY = config.blockDimZ = 1;
  config.sharedMemBytes = static_cast<unsigned>(plan.smem_bytes);
  config.hStream = stream;
  config.attrs = attributes.data();

  std::array<void*, 3> arguments{const_cast<GemmParams*>(&params)};
  size_t count = 1;
  CUtensorMap map{};
  if (plan.box_tokens > 0) {
    const CUresult encoded = encode_activations(gpu_.driver(), params, plan, map);
    if (encoded != CUDA_SUCCESS) return encoded;
    arguments[count++] = &map;
  }
  if (extra != nullptr) arguments[count++] = const_cast<void*>(extra);
  return gpu_.driver().launch_kernel_ex(&config, function_, arguments.data(), nullptr);
}

void workspace_init(const Gpu& gpu, CUdeviceptr workspace, const LaunchPlan& plan,
                    CUstream stream) {
  if (plan.counter_bytes == 0) return;
  gpu.check(
      gpu.driver().memset_d8_async(workspace, 0, static_cast<size_t>(plan.counter_bytes), stream),
      "cuMemsetD8Async");
}

}  // namespace nvfp4
