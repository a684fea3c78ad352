// SPDX-License-Identifier: Apache-2.0
// Programmatic dependent launch on the emulated device: what a kernel reads before its grid wait is
// the memory before its predecessor's writes, always, so that a kernel that depends on luck is
// found out.
#include <doctest/doctest.h>

#include <array>

#include "tests/emulated_gpu.h"
#include "tests/kernel_bench.h"

namespace nvfp4 {
namespace {

/// What `dependent` read before and after its grid wait, after `advance` on the same stream.
std::array<unsigned, 2> run_dependent(KernelBench& bench, bool programmatic, CUstream first,
                                      CUstream second) {
  DeviceBuffer out(bench.gpu, 8);
  CUdeviceptr result = out.address();
  CHECK(launch(bench.gpu, bench.function("advance"), {&bench.address}, first) == CUDA_SUCCESS);
  CHECK(launch(bench.gpu, bench.function("dependent"), {&bench.address, &result}, second,
               {.programmatic = programmatic}) == CUDA_SUCCESS);
  std::array<unsigned, 2> words{};
  out.download(bytes_of(words));
  return words;
}

TEST_CASE("a programmatic launch sees old memory before its grid wait and new memory after it") {
  const EmulatedGpu emulated;
  KernelBench bench(emulated.gpu, kDependentPtx);
  const CUstream stream = bench.stream.get();
  CHECK(run_dependent(bench, false, stream, stream) == std::array{1u, 1u});
  CHECK(run_dependent(bench, true, stream, stream) == std::array{1u, 2u});
  CHECK(run_dependent(bench, true, nullptr, stream) == std::array{3u, 3u});  // no predecessor
}

TEST_CASE("programmatic launches overlap in a chain and in a graph, one deep") {
  const EmulatedGpu emulated;
  KernelBench bench(emulated.gpu, kDependentPtx);
  const Stream& stream = bench.stream;
  DeviceBuffer out(bench.gpu, 8);
  CUdeviceptr result = out.address();
  const auto chain = [&] {
    for (int i = 0; i < 3; ++i) {
      launch(bench.gpu, bench.function("advance"), {&bench.address}, stream.get(),
             {.programmatic = true});
    }
    launch(bench.gpu, bench.function("dependent"), {&bench.address, &result}, stream.get(),
           {.programmatic = true});
  };
  std::array<unsigned, 2> words{};
  chain();
  stream.synchronize();
  out.download(bytes_of(words));
  CHECK(words == std::array{2u, 3u});
  const GraphExec graph = capture(bench.gpu, stream.get(), chain);
  graph.launch(stream.get());
  stream.synchronize();
  out.download(bytes_of(words));
  CHECK(words == std::array{5u, 6u});
}

TEST_CASE("a copy or an event between two launches ends the overlap") {
  const EmulatedGpu emulated;
  KernelBench bench(emulated.gpu, kDependentPtx);
  const Event event(bench.gpu);
  DeviceBuffer out(bench.gpu, 8);
  CUdeviceptr result = out.address();
  CUstream stream = bench.stream.get();
  launch(bench.gpu, bench.function("advance"), {&bench.address}, stream);
  event.record(stream);
  launch(bench.gpu, bench.function("dependent"), {&bench.address, &result}, stream,
         {.programmatic = true});
  std::array<unsigned, 2> words{};
  out.download(bytes_of(words));
  CHECK(words == std::array{1u, 1u});
}

TEST_CASE("programmatic launches need sm_90") {
  const EmulatedGpu ampere("a100");
  const Module module(ampere.gpu, kTestPtx);
  CHECK(launch(ampere.gpu, module.function("narrow"), {}, nullptr, {.programmatic = true}) ==
        CUDA_ERROR_NOT_SUPPORTED);
  CHECK(launch(ampere.gpu, module.function("narrow"), {}, nullptr) == CUDA_SUCCESS);
}

}  // namespace
}  // namespace nvfp4
