// SPDX-License-Identifier: Apache-2.0
// What a fuzzer of calls makes once: a context that was expensive to make, its kernels, and memory
// of its device.
#pragma once

#include "nvfp4/nvfp4.h"
#include "runtime/cuda.h"
#include "tests/fuzz/call_input.h"

namespace nvfp4 {

/// What outlives an input: a context that was expensive to make, and memory of its device.
struct World {
  static constexpr size_t kRegion = 64 << 10, kRegions = 8;
  static constexpr int64_t kParts[] = {64, 16};

  World() : gpu(open_device("emulated:a100").gpu), memory(gpu, kRegion * kRegions) {
    memory.fill(std::byte{0});
    nvfp4_context_options options{};
    options.size = sizeof options;
    options.device = "emulated:a100";
    options.database = "";
    require(nvfp4_context_create(&options, &context) == NVFP4_OK);
    // Held for ever, so that inputs that prepare them load nothing.
    for (const nvfp4_dtype act : {NVFP4_BF16, NVFP4_FP16}) {
      nvfp4_problem problem{};
      problem.size = sizeof problem;
      problem.n = 16;
      problem.k = 64;
      problem.act = act;
      nvfp4_gemm gemm = 0;
      require(nvfp4_prepare(context, &problem, 1, 8, &gemm) == NVFP4_OK);
      problem.n = 80;
      problem.part_rows = kParts;
      problem.part_count = 2;
      require(nvfp4_prepare(context, &problem, 1, 8, &gemm) == NVFP4_OK);
    }
  }

  /// The start of a region, mostly; else what must be refused.
  template <class T = void>
  T* device(Input& input, size_t region) const {
    const int kind = input.byte() % 16;
    if (kind == 14) return nullptr;
    return memory.as<T>(region * kRegion + (kind == 15 ? 1 : 0));
  }

  Gpu gpu;
  DeviceBuffer memory;
  nvfp4_context context = 0;
};

}  // namespace nvfp4
