// SPDX-License-Identifier: Apache-2.0
#include "runtime/nvfp4_gemm.h"

#include <doctest/doctest.h>

#include <stdexcept>
#include <string>

#include "runtime/cuda.h"
#include "runtime/pack.h"
#include "tuner/gate_data.h"

using namespace nvfp4;

namespace {

constexpr int64_t kN = 200, kK = 320, kM = 13;

Runtime emulated(const std::string& part = "h100") {
  return Runtime({.device = "emulated:" + part, .database = "/nonexistent/tuning.db"});
}

template <typename T>
DeviceBuffer upload(const Gpu& gpu, const std::vector<T>& values) {
  DeviceBuffer buffer(gpu, values.size() * sizeof(T));
  buffer.upload(bytes_of(values));
  return buffer;
}

}  // namespace

TEST_SUITE("nvfp4_gemm") {
  TEST_CASE("an untuned shape is answered by the default, and its result is exact on every arch") {
    std::string part;
    SUBCASE("sm_80") { part = "a100"; }
    SUBCASE("sm_86") { part = "a10g"; }
    SUBCASE("sm_89") { part = "l40s"; }
    SUBCASE("sm_90a") { part = "h100"; }
    const Runtime runtime = emulated(part);
    const Gemm gemm = runtime.prepare(kN, kK, Activation::bf16, kM);
    CHECK(gemm.selection().layer == Layer::fallback);
    CHECK(gemm.selection().match == Match::fallback);

    const GateCase data =
        make_gate_case(GateKind::exact, {.n = kN, .k = kK, .m = kM, .bias = true}, 2);
    std::vector<uint8_t> packed(packed_bytes(kN, kK));
    pack(data.codes, data.scales, kN, kK, packed, 1, "weights");
    const DeviceBuffer weights = upload(runtime.gpu(), packed);
    const DeviceBuffer activations = upload(runtime.gpu(), data.activations);
    const DeviceBuffer scales = upload(runtime.gpu(), data.global_scales);
    const DeviceBuffer bias = upload(runtime.gpu(), data.bias);
    const Stream stream(runtime.gpu());
    const DeviceBuffer workspace(runtime.gpu(), gemm.workspace_bytes(kM));
    gemm.init_workspace(workspace.address(), kM, stream.get());
    for (const OutputType type : {OutputType::bf16, OutputType::fp16, OutputType::fp32}) {
      std::vector<uint8_t> out(kM * kN * 4);
      DeviceBuffer result = upload(runtime.gpu(), out);
      gemm.launch({.weights = weights.address(),
                   .activations = activations.address(),
                   .out = result.address(),
                   .global_scales = scales.address(),
                   .bias = bias.address(),
                   .workspace = workspace.address(),
                   .m = kM,
                   .lda = data.lda,
                   .out_type = type},
                  stream.get());
      stream.synchronize();
      result.download(bytes_of(out));
      const auto wrong = check(data, out.data(), kN, type);
      CHECK_MESSAGE(!wrong, wrong.value_or(""));
    }
  }

  TEST_CASE("operands that break the contract are refused before anything is launched") {
    const Runtime runtime = emulated();
    const Gemm gemm = runtime.prepare(kN, kK, Activation::bf16, 1);
    const auto refusal = [&](GemmArguments a) -> std::string {
      try {
        gemm.launch(a, nullptr);
      } catch (const std::invalid_argument& error) {
        return error.what();
      }
      return "launched";
    };
    const GemmArguments good{
        .weights = 256, .activations = 256, .out = 256, .global_scales = 256, .m = 1};
    GemmArguments bad = good;
    bad.weights = 8;
    CHECK(refusal(bad) == "weights are null or not 16-byte aligned");
    bad = good;
    bad.m = -1;
    CHECK(refusal(bad) == "M = -1 is below 1");
    bad = good;
    bad.lda = 100;
    CHECK(refusal(bad) == "lda = 100 is below K = 320 or no multiple of 8");
    bad = good;
    bad.ldo = 199;
    CHECK(refusal(bad) == "ldo = 199 is below N = 200");
    bad = good;
    bad.m = 0;
    bad.weights = 0;
    gemm.launch(bad, nullptr);  // nothing to do, nothing checked
  }

  TEST_CASE("a bad shape is refused by lookup and prepare alike") {
    const Runtime runtime = emulated();
    CHECK_THROWS_WITH(runtime.lookup(64, 100, Activation::bf16, 1),
                      "K = 100 is not a multiple of 16");
    CHECK_THROWS_WITH(runtime.prepare(0, 64, Activation::bf16, 1), "N = 0 is below 1");
    CHECK_THROWS_WITH(runtime.prepare(64, 64, Activation::bf16, 0), "M = 0 is below 1");
  }
}
