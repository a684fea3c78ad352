// SPDX-License-Identifier: Apache-2.0
// A device with a module of test kernels, a stream and one word of memory, and a launch with every
// parameter spelled out.
#pragma once

#include <span>
#include <vector>

#include "runtime/cuda.h"
#include "tests/test_kernels.h"

namespace nvfp4 {

struct Geometry {
  unsigned grid = 1;
  unsigned block = 1;
  unsigned smem = 0;
  bool programmatic = false;
  unsigned cluster = 0;  ///< 0: without the attribute
};

inline CUresult launch(const Gpu& gpu, CUfunction function, std::vector<void*> arguments,
                       CUstream stream, const Geometry& geometry = {}) {
  CUlaunchAttribute attributes[2]{};
  CUlaunchConfig config{};
  if (geometry.programmatic) {
    CUlaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
  }
  if (geometry.cluster > 0) {
    CUlaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim = {geometry.cluster, 1, 1};
  }
  config.gridDimX = geometry.grid;
  config.blockDimX = geometry.block;
  config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1;
  config.sharedMemBytes = geometry.smem;
  config.hStream = stream;
  config.attrs = attributes;
  return gpu.driver().launch_kernel_ex(&config, function, arguments.data(), nullptr);
}

struct KernelBench {
  explicit KernelBench(const Gpu& device, const char* ptx = kTestPtx)
      : gpu(device), module(gpu, ptx), stream(gpu), word(gpu, 4), address(word.address()) {
    if (ptx == kTestPtx) setter = function("set_word");
    word.fill(std::byte{0});
    gpu.check(gpu.driver().ctx_synchronize(), "cuCtxSynchronize");
  }

  CUfunction function(const char* name) const { return module.function(name); }

  CUresult set_word(unsigned value, CUstream on) {
    return launch(gpu, setter, {&address, &value}, on);
  }

  unsigned read() const {
    gpu.check(gpu.driver().ctx_synchronize(), "cuCtxSynchronize");
    unsigned value = 0;
    word.download(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  Gpu gpu;
  Module module;
  Stream stream;
  DeviceBuffer word;  ///< starts as 0
  CUdeviceptr address;
  CUfunction setter = nullptr;  ///< set_word, so that it can be launched after a fault
};

}  // namespace nvfp4
