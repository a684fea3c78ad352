// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <thread>

#include "tests/abi_product.h"
#include "tests/emulated_gpu.h"

using namespace nvfp4;

namespace {

constexpr int64_t kM = Operands::kM;

}  // namespace

TEST_SUITE("abi_gemm") {
  TEST_CASE("a prepared GEMM gives exact results, in a stream and in a captured graph") {
    const AbiContext context;
    const Operands operands(context.gpu);
    const PreparedGemm gemm(context);
    const Stream stream(context.gpu);
    const nvfp4_launch_args args = gemm.with_workspace(operands.args());
    REQUIRE(said(nvfp4_launch(gemm.handle, &args, stream.get())) == "NVFP4_OK");
    stream.synchronize();
    CHECK(operands.wrong() == "");

    const GraphExec graph = capture(context.gpu, stream.get(), [&] {
      for (int i = 0; i < 3; ++i) {
        REQUIRE(nvfp4_launch(gemm.handle, &args, stream.get()) == NVFP4_OK);
      }
    });
    DeviceBuffer(context.gpu, 16);
    for (int i = 0; i < 2; ++i) {
      const_cast<DeviceBuffer&>(operands.out).fill(std::byte{0xff}, stream.get());
      graph.launch(stream.get());
      stream.synchronize();
      CHECK(operands.wrong() == "");
    }
  }

  TEST_CASE("a launch makes one driver call and nothing that allocates, waits or loads") {
    const EmulatedGpu emulated;
    const AbiContext context;
    const Operands operands(context.gpu);
    const PreparedGemm gemm(context);
    const nvfp4_launch_args args = gemm.with_workspace(operands.args());
    const auto heavy = [&] {
      return emulated.calls("alloc") + emulated.calls("free") + emulated.calls("sync") +
             emulated.calls("load");
    };
    const int64_t before = heavy(), launches = emulated.calls("launch");
    REQUIRE(nvfp4_launch(gemm.handle, &args, nullptr) == NVFP4_OK);
    CHECK(emulated.calls("launch") == launches + 1);
    CHECK(heavy() == before);
  }

  TEST_CASE("arguments that break the contract are refused by name, and M = 0 is no work") {
    const AbiContext context;
    const Operands operands(context.gpu);
    const PreparedGemm gemm(context);
    const nvfp4_launch_args good = gemm.with_workspace(operands.args());
    const auto refusal = [&](auto change) {
      nvfp4_launch_args args = good;
      change(args);
      return said(nvfp4_launch(gemm.handle, &args, nullptr));
    };
    const std::string refused = "NVFP4_INVALID_ARGUMENT: ";
    CHECK(refusal([](auto& a) { a.weights = nullptr; }) ==
          refused + "weights are null or not 16-byte aligned");
    CHECK(refusal([](auto& a) { a.m = kM + 1; }) ==
          refused + "M = 6 is outside what was prepared, 0 to 5");
    CHECK(refusal([](auto& a) {
            a.m = INT64_MIN;
          }).starts_with(refused + "M = -9223372036854775808 is outside"));
    CHECK(refusal([](auto& a) { a.lda = INT64_MAX - 7; }).starts_with(refused + "lda = "));
    CHECK(refusal([](auto& a) { a.ldo = -1; }).starts_with(refused + "out: ldo = -1"));
    CHECK(refusal([](auto& a) { a.out_type = NVFP4_FP8_E4M3; }) ==
          refused + "out_type = 3 is no output type");
    CHECK(refusal([](auto& a) { a.size = 3; }) ==
          refused + "args->size is 3, at least 120 is needed");
    CHECK(said(nvfp4_launch(gemm.handle, nullptr, nullptr)) == refused + "args is null");
    CHECK(refusal([](auto& a) { a.m = 0; }) == "NVFP4_OK");
  }

  TEST_CASE("a GEMM outlives its context's handle, and its own destroyed handle is a status") {
    auto context = std::make_unique<AbiContext>();
    const Operands operands(context->gpu);
    auto gemm = std::make_unique<PreparedGemm>(*context);
    const Stream stream(context->gpu);
    REQUIRE(nvfp4_context_destroy(context->handle) == NVFP4_OK);
    const nvfp4_launch_args args = gemm->with_workspace(operands.args());
    REQUIRE(nvfp4_launch(gemm->handle, &args, stream.get()) == NVFP4_OK);
    stream.synchronize();
    CHECK(operands.wrong() == "");
    const nvfp4_gemm handle = gemm->handle;
    gemm.reset();
    CHECK(nvfp4_launch(handle, &args, stream.get()) == NVFP4_INVALID_HANDLE);
    CHECK(nvfp4_gemm_destroy(handle) == NVFP4_INVALID_HANDLE);
    size_t bytes = 0;
    CHECK(nvfp4_workspace_size(handle, &bytes) == NVFP4_INVALID_HANDLE);
  }

  TEST_CASE(
      "a fault of anyone's kernel is a lost device, and later calls fail without the driver") {
    const EmulatedGpu emulated;
    const AbiContext context;
    const Operands operands(context.gpu);
    const PreparedGemm gemm(context);
    const nvfp4_launch_args args = gemm.with_workspace(operands.args());
    emulated.inject("launch:1=700");
    CHECK(nvfp4_launch(gemm.handle, &args, nullptr) == NVFP4_DEVICE_LOST);
    const int64_t launches = emulated.calls("launch");
    CHECK(said(nvfp4_launch(gemm.handle, &args, nullptr)) ==
          "NVFP4_DEVICE_LOST: an earlier call found the device's context lost");
    CHECK(emulated.calls("launch") == launches);
  }

  TEST_CASE("two streams and two graphs with workspaces of their own do not disturb each other") {
    const AbiContext context;
    const Operands first(context.gpu, 2), second(context.gpu, 3);
    const PreparedGemm one(context), two(context);
    const auto run = [&](const Operands& operands, const PreparedGemm& gemm, std::string& wrong) {
      const ContextScope scope(context.gpu);
      const Stream stream(context.gpu);
      const nvfp4_launch_args args = gemm.with_workspace(operands.args());
      const GraphExec graph = capture(context.gpu, stream.get(),
                                      [&] { nvfp4_launch(gemm.handle, &args, stream.get()); });
      for (int i = 0; i < 5; ++i) graph.launch(stream.get());
      stream.synchronize();
      wrong = operands.wrong();
    };
    std::string wrong[2] = {"did not run", "did not run"};
    {
      std::jthread a(run, std::cref(first), std::cref(one), std::ref(wrong[0]));
      std::jthread b(run, std::cref(second), std::cref(two), std::ref(wrong[1]));
    }
    CHECK(wrong[0] == "");
    CHECK(wrong[1] == "");
  }
}
