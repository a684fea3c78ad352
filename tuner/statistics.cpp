// SPDX-License-Identifier: Apache-2.0
// Order statistics.
#include "tuner/statistics.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <vector>

namespace nvfp4 {
namespace {

double at(const std::vector<float>& sorted, double fraction) {
  const double position = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double weight = position - static_cast<double>(below);
  return sorted[below] * (1 - weight) + sorted[above] * weight;
}

std::vector<float> ratios(std::span<const float> numerator, std::span<const float> denominator) {
  assert(numerator.size() == denominator.size());
  std::vector<float> result(numerator.size());
  for (size_t i = 0; i < result.size(); ++i) result[i] = numerator[i] / denominator[i];
  return result;
}

}  // namespace

Quartiles quartiles(std::span<const float> samples) {
  if (samples.empty()) return {};
  std::vector<float> sorted(samples.begin(), samples.end());
  std::sort(sorted.begin(), sorted.end());
  return {.q1 = at(sorted, 0.25), .median = at(sorted, 0.5), .q3 = at(sorted, 0.75)};
}

double paired_ratio(std::span<const float> numerator, std::span<const float> denominator) {
  return quartiles(ratios(numerator, denominator)).median;
}

double paired_uncertainty(std::span<const float> numerator, std::span<const float> denominator) {
  if (numerator.size() < 5) return std::numeric_limits<double>::infinity();
  const Quartiles q = quartiles(ratios(numerator, denominator));
  return 1.57 * (q.q3 - q.q1) / std::sqrt(static_cast<double>(numerator.size()));
}

}  // namespace nvfp4
