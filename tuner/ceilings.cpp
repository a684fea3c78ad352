// SPDX-License-Identifier: Apache-2.0
// The read ceilings, measured with the same pool and the same events as the kernels they judge.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "tuner/measure.h"
#include "tuner/read_stream.h"
#include "tuner/statistics.h"

namespace nvfp4 {
namespace {

constexpr int kReplays = 7;
constexpr int64_t kStreamBytes = int64_t{2} << 30;
// Of one replay of launches: the pause between two replays then weighs less than half a percent.
constexpr double kChainSeconds = 2.5e-3;
constexpr double kLaunchSeconds = 2e-6;  // of a launch that reads next to nothing, roughly
// A card that has idled needs this long to reach the clock it then keeps: without it, reads of 9 MB
// buffers took 5.3 instead of 4.8 us (H100).
constexpr double kWarmUpSeconds = 0.3;
// What a real matrix product reaches of the data sheet's tensor rate: 758 of 989.4 TFLOP/s on an
// H100 SXM (cuBLAS, bf16, 8192^3). F takes it as the rate of every card until one is measured
// there.
constexpr double kReachableTensorShare = 0.766;
// Above this share of the data sheet's bandwidth, a cache must have answered.
constexpr double kMostOfPeak = 1.02;

// Median seconds of one replay.
double time_replays(const Gpu& gpu, const Stream& stream, const GraphExec& graph) {
  const Event begin(gpu);
  const Event end(gpu);
  std::vector<float> seconds;
  for (int i = 0; i < kReplays; ++i) {
    graph.launch(stream.get());
    begin.record(stream.get());
    graph.launch(stream.get());
    end.record(stream.get());
    stream.synchronize();
    seconds.push_back(static_cast<float>(end.seconds_since(begin)));
  }
  return quartiles(seconds).median;
}

void check_plausible(const Device& device, double bytes_per_s, std::string_view what) {
  if (device.memory_bandwidth <= 0 || bytes_per_s <= device.memory_bandwidth * kMostOfPeak) return;
  throw MeasureError(
      fmt::format("{} reads at {:.0f} GB/s, above the memory's {:.0f}: it is not cold", what,
                  bytes_per_s / 1e9, device.memory_bandwidth / 1e9));
}

}  // namespace

Ceilings measure_ceilings(const Gpu& gpu, std::string_view image, const ColdPool& pool) {
  const Module module(gpu, image);
  const CUfunction function = module.function("nvfp4_read_stream");
  const Stream stream(gpu);
  const DeviceBuffer sink(gpu, 4);
  Ceilings ceilings{.tensor_flops = gpu.facts().tensor_flops * kReachableTensorShare,
                    .modelled = false};
  {
    DeviceBuffer memory(gpu, kStreamBytes);
    memory.fill(std::byte{1}, stream.get());
    const GraphExec graph = capture(gpu, stream.get(), [&] {
      read_stream(gpu, function, memory.address(), kStreamBytes, sink.address(), stream.get());
    });
    const auto warm =
        std::chrono::steady_clock::now() + std::chrono::duration<double>(kWarmUpSeconds);
    while (std::chrono::steady_clock::now() < warm) {
      graph.launch(stream.get());
      stream.synchronize();
    }
    ceilings.stream_bytes_per_s = kStreamBytes / time_replays(gpu, stream, graph);
  }
  const double expected =
      kLaunchSeconds + static_cast<double>(pool.bytes()) / ceilings.stream_bytes_per_s;
  const auto wanted = static_cast<int64_t>(kChainSeconds / expected);
  const int64_t passes = std::max<int64_t>(1, (wanted + pool.copies() - 1) / pool.copies());
  const int64_t launches = passes * pool.copies();
  const GraphExec graph = capture(gpu, stream.get(), [&] {
    for (int64_t i = 0; i < launches; ++i) {
      read_stream(gpu, function, pool.copy(i % pool.copies()), pool.bytes(), sink.address(),
                  stream.get());
    }
  });
  ceilings.launch_seconds = time_replays(gpu, stream, graph) / static_cast<double>(launches);
  check_plausible(gpu.facts(), ceilings.stream_bytes_per_s, "a long stream");
  check_plausible(gpu.facts(), static_cast<double>(pool.bytes()) / ceilings.launch_seconds,
                  "the pool of weights");
  return ceilings;
}

Ceilings modelled_ceilings(const Device& device, int64_t bytes) {
  return {.stream_bytes_per_s = device.memory_bandwidth,
          .launch_seconds = static_cast<double>(bytes) / device.memory_bandwidth,
          .tensor_flops = device.tensor_flops * kReachableTensorShare,
          .modelled = true};
}

}  // namespace nvfp4
