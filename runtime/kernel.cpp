// SPDX-License-Identifier: Apache-2.0
// Loads and launches a GEMM kernel. All that can fail for reasons of resources fails at load.
#include "runtime/kernel.h"

#include <fmt/format.h>

#include <array>

#include "generator/emit.h"

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

void Kernel::launch(const GemmParams& params, const LaunchPlan& plan, Pdl pdl,
                    CUstream stream) const {
  const CUresult result = try_launch(params, plan, pdl, stream);
  if (result == CUDA_SUCCESS) return;
  throw CudaError(gpu_.driver(), result,
                  fmt::format("launch of {} CTAs x {} threads with {} bytes of shared memory",
                              plan.grid, plan.threads, plan.smem_bytes));
}

CUresult Kernel::try_launch(const GemmParams& params, const LaunchPlan& plan, Pdl pdl,
                            CUstream stream) const noexcept {
  if (plan.grid == 0) return CUDA_SUCCESS;
  std::array<CUlaunchAttribute, 1> attributes{};
  attributes[0].id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  attributes[0].value.programmaticStreamSerializationAllowed = 1;

  CUlaunchConfig config{};
  config.gridDimX = static_cast<unsigned>(plan.grid);
  config.gridDimY = config.gridDimZ = 1;
  config.blockDimX = static_cast<unsigned>(plan.threads);
  config.blockDimY = config.blockDimZ = 1;
  config.sharedMemBytes = static_cast<unsigned>(plan.smem_bytes);
  config.hStream = stream;
  config.attrs = attributes.data();
  config.numAttrs = pdl == Pdl::on ? 1 : 0;

  void* arguments[] = {const_cast<GemmParams*>(&params)};
  return gpu_.driver().launch_kernel_ex(&config, function_, arguments, nullptr);
}

void workspace_init(const Gpu& gpu, CUdeviceptr workspace, const LaunchPlan& plan,
                    CUstream stream) {
  if (plan.counter_bytes == 0) return;
  gpu.check(
      gpu.driver().memset_d8_async(workspace, 0, static_cast<size_t>(plan.counter_bytes), stream),
      "cuMemsetD8Async");
}

}  // namespace nvfp4
