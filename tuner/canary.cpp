// SPDX-License-Identifier: Apache-2.0
// The read kernel writes its sink for one XOR of what a thread has read, and for no other: two
// runs, one with that value planted in the last 16 bytes, cover loads, arithmetic and a store.
#include "tuner/canary.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "runtime/cuda.h"
#include "tuner/read_stream.h"

namespace nvfp4 {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kAnswer = 0x12345;  // as in read_stream.cuh
constexpr auto kPatience = std::chrono::seconds(5);
// Contexts of the same process differ by a few megabytes from one time to the next.
constexpr int64_t kSlack = int64_t{64} << 20;

int64_t free_bytes(const Gpu& gpu) {
  size_t free = 0;
  size_t total = 0;
  gpu.check(gpu.driver().mem_get_info(&free, &total), "cuMemGetInfo");
  return static_cast<int64_t>(free);
}

// What the kernel left in its sink, which held zero.
uint32_t sink_after(const Gpu& gpu, CUfunction function, uint32_t planted) {
  const size_t bytes = gpu.emulated() ? size_t{64} << 10 : size_t{64} << 20;
  DeviceBuffer source(gpu, bytes);
  DeviceBuffer sink(gpu, 4);
  const Stream stream(gpu);
  source.fill(std::byte{0}, stream.get());
  sink.fill(std::byte{0}, stream.get());
  stream.synchronize();
  const uint32_t words[4] = {planted, 0, 0, 0};
  source.upload(std::as_bytes(std::span(words)), bytes - sizeof words);
  read_stream(gpu, function, source.address(), static_cast<int64_t>(bytes), sink.address(),
              stream.get());
  stream.synchronize();
  uint32_t found = 0;
  sink.download(std::as_writable_bytes(std::span(&found, 1)));
  return found;
}

}  // namespace

CanaryResult run_canary(const Gpu& gpu, const CanaryJob& job) {
  CanaryResult result{.free_bytes = free_bytes(gpu)};
  if (job.image.empty()) return result;
  try {
    const Clock::time_point give_up = Clock::now() + kPatience;
    while (result.free_bytes < job.free_bytes - kSlack && Clock::now() < give_up) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      result.free_bytes = free_bytes(gpu);
    }
    if (result.free_bytes < job.free_bytes - kSlack) {
      result.error = fmt::format("{} MB are free, {} were before", result.free_bytes >> 20,
                                 job.free_bytes >> 20);
      return result;
    }
    const Module module(gpu, job.image);
    const CUfunction function = module.function("nvfp4_read_stream");
    for (const uint32_t planted : {kAnswer, uint32_t{0}}) {
      const uint32_t found = sink_after(gpu, function, planted);
      if (found == planted) continue;
      result.error =
          fmt::format("the canary kernel answers {:#x} instead of {:#x}", found, planted);
      break;
    }
  } catch (const CudaError& error) {
    result.error = error.what();
  }
  return result;
}

}  // namespace nvfp4
