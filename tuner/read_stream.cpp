// SPDX-License-Identifier: Apache-2.0
// Grid and arguments of the read kernel.
#include "tuner/read_stream.h"

#include <array>

namespace nvfp4 {
namespace {

constexpr int kThreads = 512;
constexpr int kCtasPerSm = 4;

}  // namespace

void read_stream(const Gpu& gpu, CUfunction function, CUdeviceptr source, int64_t bytes,
                 CUdeviceptr sink, CUstream stream) {
  auto count = static_cast<unsigned long long>(bytes / 16);
  std::array<void*, 3> arguments = {&source, &count, &sink};
  CUlaunchConfig config = {};
  config.gridDimX = gpu.facts().sm_count * kCtasPerSm;
  config.gridDimY = config.gridDimZ = 1;
  config.blockDimX = kThreads;
  config.blockDimY = config.blockDimZ = 1;
  config.hStream = stream;
  gpu.check(gpu.driver().launch_kernel_ex(&config, function, arguments.data(), nullptr),
            "cuLaunchKernelEx");
}

}  // namespace nvfp4
