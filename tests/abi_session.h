// SPDX-License-Identifier: Apache-2.0
// A small product on an emulated device, for programs that end in unusual ways: no test framework,
// no output, and every failure is an exit status of its own, the line it happened in.
#pragma once

#include <unistd.h>

#include "nvfp4/nvfp4.h"
#include "runtime/cuda.h"

namespace nvfp4 {

/// Ends the process at once, with the number of the line that wanted it, unless `true`.
#define NVFP4_EXPECT(condition) \
  if (!(condition)) _exit(__LINE__ % 250 + 1)

/// The functions that a session calls: linked, or from a library that was opened.
struct SessionCalls {
  decltype(&nvfp4_context_create) context_create = nullptr;
  decltype(&nvfp4_prepare) prepare = nullptr;
  decltype(&nvfp4_workspace_size) workspace_size = nullptr;
  decltype(&nvfp4_workspace_init) workspace_init = nullptr;
  decltype(&nvfp4_launch) launch = nullptr;
  decltype(&nvfp4_gemm_destroy) gemm_destroy = nullptr;
  decltype(&nvfp4_context_destroy) context_destroy = nullptr;
};

/// A context and a prepared GEMM with zeros for operands. Its handles stay open until close().
struct Session {
  static constexpr int64_t kN = 64, kK = 64, kM = 1;

  explicit Session(const SessionCalls& functions)
      : calls(functions),
        gpu(open_device("emulated:a100").gpu),
        weights(gpu, 2304),
        scales(gpu, 4),
        activations(gpu, kM * kK * 2),
        out(gpu, kM * kN * 2),
        workspace(gpu, 1) {
    nvfp4_context_options options{.size = sizeof options};
    options.device = "emulated:a100";
    options.database = "";
    NVFP4_EXPECT(calls.context_create(&options, &context) == NVFP4_OK);
    nvfp4_problem problem{};
    problem.size = sizeof problem;
    problem.n = kN;
    problem.k = kK;
    NVFP4_EXPECT(calls.prepare(context, &problem, 1, kM, &gemm) == NVFP4_OK);
    size_t bytes = 0;
    NVFP4_EXPECT(calls.workspace_size(gemm, &bytes) == NVFP4_OK);
    workspace = DeviceBuffer(gpu, bytes);
    NVFP4_EXPECT(calls.workspace_init(context, workspace.as(), bytes, nullptr) == NVFP4_OK);
    for (DeviceBuffer* zeros : {&weights, &scales, &activations}) zeros->fill(std::byte{0});
  }

  nvfp4_status launch() const {
    nvfp4_launch_args args{};
    args.size = sizeof args;
    args.m = kM;
    args.weights = weights.as();
    args.global_scales = scales.as<float>();
    args.activations = activations.as();
    args.out = out.as();
    args.workspace = workspace.as();
    args.workspace_bytes = workspace.size();
    return calls.launch(gemm, &args, nullptr);
  }

  void close() const {
    NVFP4_EXPECT(calls.gemm_destroy(gemm) == NVFP4_OK);
    NVFP4_EXPECT(calls.context_destroy(context) == NVFP4_OK);
  }

  SessionCalls calls;
  Gpu gpu;
  DeviceBuffer weights, scales, activations, out, workspace;
  nvfp4_context context = 0;
  nvfp4_gemm gemm = 0;
};

}  // namespace nvfp4
