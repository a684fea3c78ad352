// SPDX-License-Identifier: Apache-2.0
// Closed forms where there are any, so that nothing iterates to a tolerance.
#include "tuner/significance.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

namespace nvfp4 {

// For whole degrees of freedom the distribution is a finite sum in the angle whose tangent is
// t / sqrt(freedom) (Abramowitz and Stegun 26.7.3 and 26.7.4).
double student_p(double t, int freedom) {
  assert(freedom >= 1);
  if (std::isinf(t)) return 0;
  const double angle = std::atan(std::abs(t) / std::sqrt(freedom));
  const double cosine = std::cos(angle);
  const bool odd = freedom % 2 == 1;
  double term = odd ? cosine : 1;
  double sum = freedom == 1 ? 0 : term;
  for (int i = odd ? 3 : 2; i <= freedom - 2; i += 2) {
    term *= cosine * cosine * (i - 1) / i;
    sum += term;
  }
  const double inside =
      odd ? 2 / std::numbers::pi * (angle + std::sin(angle) * sum) : std::sin(angle) * sum;
  return std::clamp(1 - inside, 0.0, 1.0);
}

double mann_whitney_p(std::span<const float> a, std::span<const float> b) {
  std::vector<std::pair<float, bool>> all;  // value, and whether it is of a
  for (float value : a) all.emplace_back(value, true);
  for (float value : b) all.emplace_back(value, false);
  std::sort(all.begin(), all.end());
  double rank_sum = 0;  // of a; equal values share the mean of their ranks
  double ties = 0;
  for (size_t i = 0; i < all.size();) {
    size_t end = i;
    size_t of_a = 0;
    for (; end < all.size() && all[end].first == all[i].first; ++end) of_a += all[end].second;
    const auto count = static_cast<double>(end - i);
    rank_sum += static_cast<double>(of_a) * static_cast<double>(i + end + 1) / 2;
    ties += count * (count * count - 1);
    i = end;
  }
  const auto n = static_cast<double>(a.size());
  const auto m = static_cast<double>(b.size());
  const double total = n + m;
  const double mean = n * m / 2;
  const double u = rank_sum - n * (n + 1) / 2;
  const double variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)));
  if (!(variance > 0)) return 1;
  const double z = std::max(0.0, std::abs(u - mean) - 0.5) / std::sqrt(variance);
  return std::erfc(z / std::numbers::sqrt2);
}

std::vector<bool> discoveries(std::span<const double> p_values, size_t tests, double rate) {
  assert(tests >= p_values.size());
  std::vector<size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t i, size_t j) {
    return std::pair(p_values[i], i) < std::pair(p_values[j], j);
  });
  size_t believed = 0;
  for (size_t rank = 1; rank <= order.size(); ++rank) {
    const double limit = rate * static_cast<double>(rank) / static_cast<double>(tests);
    if (p_values[order[rank - 1]] <= limit) believed = rank;
  }
  std::vector<bool> result(p_values.size());
  for (size_t i = 0; i < believed; ++i) result[order[i]] = true;
  return result;
}

}  // namespace nvfp4
