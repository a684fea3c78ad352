// SPDX-License-Identifier: Apache-2.0
// Loading and launching a kernel through the seam, with a stand-in for the GEMM.
#include "runtime/kernel.h"

#include <doctest/doctest.h>

#include <array>
#include <string>

#include "tests/emulated_gpu.h"
#include "tests/test_kernels.h"

namespace nvfp4 {
namespace {

LaunchPlan plan_of(int64_t grid, int threads, int smem_bytes) {
  return {.grid = grid, .threads = threads, .smem_bytes = smem_bytes};
}

TEST_CASE("a launch hands the kernel its parameters byte for byte") {
  const EmulatedGpu emulated;
  const Stream stream(emulated.gpu);
  const Kernel kernel(emulated.gpu, kStandInGemmPtx, 100000);
  const DeviceBuffer out(emulated.gpu, 16);
  const GemmParams params{
      .out = out.as(), .ldo = 4096, .m = 33, .tiles_m = 5, .out_type = OutputType::fp32};
  kernel.launch(params, plan_of(3, 128, 100000), Pdl::off, stream.get());
  stream.synchronize();
  std::array<int, 4> words{};
  out.download(bytes_of(words));
  CHECK(words == std::array<int, 4>{33, 5, 2, 4096});
}

TEST_CASE("a launch allocates nothing, waits for nothing and loads nothing") {
  const EmulatedGpu emulated;
  const Stream stream(emulated.gpu);
  const Kernel kernel(emulated.gpu, kStandInGemmPtx, 0);
  const DeviceBuffer out(emulated.gpu, 16);
  const GemmParams params{.out = out.as()};
  const std::array names = {"alloc", "free", "copy", "memset", "load", "sync", "context", "graph"};
  std::array<int64_t, names.size()> before{};
  for (size_t i = 0; i < names.size(); ++i) before[i] = emulated.calls(names[i]);
  for (int i = 0; i < 10; ++i) {
    kernel.launch(params, plan_of(1, 128, 0), i % 2 ? Pdl::on : Pdl::off, stream.get());
  }
  for (size_t i = 0; i < names.size(); ++i) {
    CAPTURE(names[i]);
    CHECK(emulated.calls(names[i]) == before[i]);
  }
  CHECK(emulated.calls("launch") == 10);
}

TEST_CASE("a launch may be captured and replayed") {
  const EmulatedGpu emulated;
  const Stream stream(emulated.gpu);
  const Kernel kernel(emulated.gpu, kStandInGemmPtx, 0);
  DeviceBuffer out(emulated.gpu, 16);
  out.fill(std::byte{0});
  const GraphExec graph = capture(emulated.gpu, stream.get(), [&] {
    kernel.launch({.out = out.as(), .m = 7}, plan_of(1, 128, 0), Pdl::off, stream.get());
    kernel.launch({.out = out.as(), .m = 8}, plan_of(1, 128, 0), Pdl::on, stream.get());
  });
  graph.launch(stream.get());
  stream.synchronize();
  int m = 0;
  out.download(std::as_writable_bytes(std::span(&m, 1)));
  CHECK(m == 8);
}

TEST_CASE("an empty grid is no launch") {
  const EmulatedGpu emulated;
  const Kernel kernel(emulated.gpu, kStandInGemmPtx, 0);
  kernel.launch({}, plan_of(0, 128, 0), Pdl::off, nullptr);
  CHECK(emulated.calls("launch") == 0);
}

TEST_CASE("shared memory beyond the device fails at load with both numbers") {
  const EmulatedGpu emulated;
  CHECK_NOTHROW(Kernel(emulated.gpu, kStandInGemmPtx, 232448));
  try {
    const Kernel kernel(emulated.gpu, kStandInGemmPtx, 232449);
    FAIL("the kernel was loaded");
  } catch (const CudaError& error) {
    const std::string text = error.what();
    CHECK(error.code() == CUDA_ERROR_INVALID_VALUE);
    CHECK(text.find("232449") != text.npos);
    CHECK(text.find("232448") != text.npos);
  }
}

TEST_CASE("a launch that the device cannot hold is an error with its numbers, not a fault") {
  const EmulatedGpu emulated;
  const Kernel kernel(emulated.gpu, kStandInGemmPtx, 1024);
  CHECK(kernel.try_launch({}, plan_of(1, 129, 0), Pdl::off, nullptr) == CUDA_ERROR_INVALID_VALUE);
  CHECK(kernel.try_launch({}, plan_of(1, 128, 1025), Pdl::off, nullptr) ==
        CUDA_ERROR_INVALID_VALUE);
  try {
    kernel.launch({}, plan_of(1, 256, 0), Pdl::off, nullptr);
    FAIL("256 threads were launched");
  } catch (const CudaError& error) {
    CHECK(std::string(error.what()).find("1 CTAs x 256 threads") != std::string::npos);
  }
  CHECK(emulated.driver().ctx_synchronize() == CUDA_SUCCESS);
}

TEST_CASE("residency follows from threads and shared memory") {
  const EmulatedGpu emulated;
  CHECK(Kernel(emulated.gpu, kStandInGemmPtx, 0).resident_ctas(128) == 16);
  CHECK(Kernel(emulated.gpu, kStandInGemmPtx, 110 * 1024).resident_ctas(128) == 2);
  CHECK(Kernel(emulated.gpu, kStandInGemmPtx, 227 * 1024).resident_ctas(128) == 1);
}

TEST_CASE("code for another architecture and machine code do not load on the emulated device") {
  const EmulatedGpu ampere("a100");
  try {
    const Kernel kernel(ampere.gpu, kStandInGemmPtx, 0);
    FAIL("sm_90a PTX was loaded on an A100");
  } catch (const CudaError& error) {
    CHECK(error.code() == CUDA_ERROR_INVALID_PTX);
    CHECK(std::string(error.what()).find("PTX target does not run on sm_80") != std::string::npos);
  }
  const std::string cubin = std::string("\x7f") + "ELF\x02\x01\x01";
  CHECK_THROWS_AS(Kernel(ampere.gpu, cubin, 0), CudaError);
}

TEST_CASE("a workspace's counters are cleared and its partials are left alone") {
  const EmulatedGpu emulated;
  const Stream stream(emulated.gpu);
  DeviceBuffer workspace(emulated.gpu, 64);
  workspace.fill(std::byte{0xee});
  workspace_init(emulated.gpu, workspace.address(), {.counter_bytes = 16, .workspace_bytes = 64},
                 stream.get());
  std::array<unsigned char, 64> bytes{};
  workspace.download(bytes_of(bytes));
  for (size_t i = 0; i < bytes.size(); ++i) {
    CAPTURE(i);
    CHECK(bytes[i] == (i < 16 ? 0 : 0xee));
  }
}

TEST_CASE("clearing the counters may be captured, and is nothing without counters") {
  const EmulatedGpu emulated;
  const Stream stream(emulated.gpu);
  DeviceBuffer workspace(emulated.gpu, 16);
  workspace.fill(std::byte{0xee});
  workspace_init(emulated.gpu, 0, {}, stream.get());
  const GraphExec graph = capture(emulated.gpu, stream.get(), [&] {
    workspace_init(emulated.gpu, workspace.address(), {.counter_bytes = 16}, stream.get());
  });
  std::array<unsigned, 4> words{};
  workspace.download(bytes_of(words));
  CHECK(words[3] == 0xeeeeeeeeu);
  graph.launch(stream.get());
  workspace.download(bytes_of(words));
  CHECK(words == std::array<unsigned, 4>{});
}

}  // namespace
}  // namespace nvfp4
