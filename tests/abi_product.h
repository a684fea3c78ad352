// SPDX-License-Identifier: Apache-2.0
// One product through the C interface: its operands on the device with what must come out, and a
// prepared GEMM with a workspace of its own.
#pragma once

#include "generator/problem.h"
#include "runtime/pack.h"
#include "tests/abi_fixture.h"
#include "tuner/gate_data.h"

namespace nvfp4 {

/// A packed matrix with activations, all on the device, and what the product must be.
struct Operands {
  static constexpr int64_t kN = 200, kK = 320, kM = 5;

  explicit Operands(const Gpu& gpu, uint64_t seed = 2, int64_t rows = kN, int64_t columns = kK)
      : data(make_gate_case(GateKind::exact, {.n = rows, .k = columns, .m = kM, .bias = true},
                            seed)),
        weights(upload(gpu, packed())),
        activations(upload(gpu, data.activations)),
        scales(upload(gpu, data.global_scales)),
        bias(upload(gpu, data.bias)),
        out(gpu, kM * rows * 2) {}

  std::vector<uint8_t> packed() const {
    std::vector<uint8_t> bytes(packed_bytes(data.n, data.k));
    pack(data.codes, data.scales, data.n, data.k, bytes, 1, "weights");
    return bytes;
  }

  nvfp4_launch_args args() const {
    nvfp4_launch_args args{};
    args.size = sizeof args;
    args.m = kM;
    args.weights = weights.as();
    args.global_scales = scales.as<float>();
    args.activations = activations.as();
    args.lda = data.lda;
    args.bias = bias.as();
    args.out = out.as();
    return args;
  }

  std::string wrong() const {
    const auto bytes = download<uint8_t>(out);
    return check(data, bytes.data(), data.n, OutputType::bf16).value_or("");
  }

  GateCase data;
  DeviceBuffer weights, activations, scales, bias, out;
};

struct PreparedGemm {
  explicit PreparedGemm(const AbiContext& context, int64_t m_max = Operands::kM,
                        int64_t n = Operands::kN, int64_t k = Operands::kK)
      : workspace(context.gpu, 0) {
    const nvfp4_problem problem = problem_of(n, k);
    REQUIRE(said(nvfp4_prepare(context.handle, &problem, 1, m_max, &handle)) == "NVFP4_OK");
    REQUIRE(nvfp4_workspace_size(handle, &bytes) == NVFP4_OK);
    workspace = DeviceBuffer(context.gpu, bytes);
    REQUIRE(nvfp4_workspace_init(context.handle, workspace.as(), bytes, nullptr) == NVFP4_OK);
  }
  ~PreparedGemm() { nvfp4_gemm_destroy(handle); }

  nvfp4_launch_args with_workspace(nvfp4_launch_args args) const {
    args.workspace = workspace.as();
    args.workspace_bytes = bytes;
    return args;
  }

  nvfp4_gemm handle = 0;
  size_t bytes = 0;
  DeviceBuffer workspace;
};

}  // namespace nvfp4
