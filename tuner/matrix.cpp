// SPDX-License-Identifier: Apache-2.0
// Data, a coarse round over the algorithms, a long one for the best, and a look at the result.
#include "tuner/matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "runtime/numerics.h"
#include "tuner/nvml.h"
#include "tuner/statistics.h"

namespace nvfp4 {
namespace {

constexpr double kCoarseSeconds = 1e-3;
constexpr int kCoarseReplays = 7;
constexpr double kFineSeconds = 2.5e-3;
constexpr int kFineReplays = 25;
constexpr size_t kFinalists = 2;  // the coarse round may mistake the order of near equals
constexpr int kChecks = 64;       // elements of the result that are recomputed
// A prime: no row of a matrix equals another, and a million draws are quickly made.
constexpr size_t kPeriod = 1'000'003;

// Values in [-1, 1): random bits, because what the multipliers see decides their power draw.
std::vector<uint16_t> random_values(uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint16_t> values(kPeriod);
  for (uint16_t& value : values) {
    value =
        bf16_bits(static_cast<float>(static_cast<int64_t>(random() >> 40) - (1 << 23)) * 0x1p-23f);
  }
  return values;
}

std::vector<uint16_t> repeated(std::span<const uint16_t> values, int64_t count) {
  std::vector<uint16_t> all(static_cast<size_t>(count));
  for (size_t i = 0; i < all.size(); i += values.size()) {
    std::copy_n(values.begin(), std::min(values.size(), all.size() - i), all.begin() + i);
  }
  return all;
}

double value_of(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// One product, with everything it reads and writes on the device.
struct Data {
  std::vector<uint16_t> weights;
  std::vector<uint16_t> activations;
  ColdPool pool;
  DeviceBuffer activations_there;
  DeviceBuffer out;
  DeviceBuffer workspace;

  Data(const Gpu& gpu, int64_t n, int64_t k, int64_t m)
      : weights(repeated(random_values(1), n * k)),
        activations(repeated(random_values(2), m * k)),
        pool(gpu, std::as_bytes(std::span(std::as_const(weights))),
             pool_copies(n * k * 2, gpu.facts().l2_bytes)),
        activations_there(gpu, activations.size() * 2),
        out(gpu, static_cast<size_t>(m * n) * 2),
        workspace(gpu, Bf16Product::kWorkspaceBytes) {
    activations_there.upload(bytes_of(std::as_const(activations)));
  }

  LaunchOn launch(const Bf16Product& product, int algorithm) const {
    return [&, algorithm](const ColdWeights& cold, CUstream stream) {
      product.enqueue(algorithm,
                      {.weights = cold.weights,
                       .activations = activations_there.address(),
                       .out = out.address(),
                       .workspace = workspace.address()},
                      stream);
    };
  }
};

// A library that is called through our own declarations had better be checked: elements picked at
// random against sums in double. cuBLASLt may add the parts of a split K in bf16, so an error grows
// with the size of partial sums, which is that of a random walk; a wrong element misses by about
// one such size, 64 times the bound.
void check_result(const Data& data, int64_t n, int64_t k, int64_t m) {
  std::mt19937_64 random(3);
  for (int i = 0; i < kChecks; ++i) {
    const auto row = static_cast<int64_t>(random() % static_cast<uint64_t>(m));
    const auto column = static_cast<int64_t>(random() % static_cast<uint64_t>(n));
    uint16_t got = 0;
    data.out.download(std::as_writable_bytes(std::span(&got, 1)),
                      static_cast<size_t>(row * n + column) * 2);
    double sum = 0;
    double squares = 0;
    for (int64_t j = 0; j < k; ++j) {
      const double term = value_of(data.activations[static_cast<size_t>(row * k + j)]) *
                          value_of(data.weights[static_cast<size_t>(column * k + j)]);
      sum += term;
      squares += term * term;
    }
    const double bound = std::abs(sum) * 0x1p-8 + std::sqrt(squares) * 0x1p-6;
    if (!(std::abs(value_of(got) - sum) <= bound)) {
      throw MeasureError(fmt::format("cuBLASLt gives {} at ({}, {}) instead of {}", value_of(got),
                                     row, column, sum));
    }
  }
}

double median(const PolicyTimes& times) { return quartiles(times.samples_us).median; }

}  // namespace

PolicyTimes time_matrix(const Gpu& gpu, const Cublas& cublas, int64_t n, int64_t k, int64_t m) {
  Data data(gpu, n, k, m);
  const Bf16Product product(cublas, m, n, k);
  const Stream stream(gpu);
  std::vector<std::pair<double, int>> order;
  for (int algorithm = 0; algorithm < product.algorithms(); ++algorithm) {
    const LaunchOn launch = data.launch(product, algorithm);
    try {
      // Once outside of any capture: a kernel's first launch loads it.
      launch(data.pool.turn(0), stream.get());
      stream.synchronize();
      const PolicyTimes times =
          time_cold(gpu, launch, data.pool, Policy::graph, kCoarseSeconds, kCoarseReplays);
      order.emplace_back(median(times), algorithm);
    } catch (const CublasError&) {
      // Proposed and then not supported; one that is will do.
      if (order.empty() && algorithm + 1 == product.algorithms()) throw;
    }
  }
  std::sort(order.begin(), order.end());
  order.resize(std::min(order.size(), kFinalists));
  PolicyTimes best;
  for (const auto& [us, algorithm] : order) {
    data.out.fill(std::byte{0xff}, stream.get());  // NaN: what is not written shows
    stream.synchronize();
    PolicyTimes times = time_cold(gpu, data.launch(product, algorithm), data.pool, Policy::graph,
                                  kFineSeconds, kFineReplays);
    check_result(data, n, k, m);
    if (best.samples_us.empty() || median(times) < median(best)) best = std::move(times);
  }
  note_reading(best, Card(gpu).read());
  return best;
}

}  // namespace nvfp4
