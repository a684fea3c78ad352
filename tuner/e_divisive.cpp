// SPDX-License-Identifier: Apache-2.0
// A table of two-dimensional prefix sums.
#include "tuner/e_divisive.h"

#include <cmath>

namespace nvfp4 {

EnergyDistances::EnergyDistances(std::span<const double> values)
    : side_(values.size() + 1), sums_(side_ * side_) {
  for (size_t i = 0; i < values.size(); ++i) {
    double row = 0;
    for (size_t j = 0; j < values.size(); ++j) {
      row += std::abs(values[i] - values[j]);
      sums_[(i + 1) * side_ + j + 1] = sums_[i * side_ + j + 1] + row;
    }
  }
}

double EnergyDistances::sum(size_t row_begin, size_t row_end, size_t begin, size_t end) const {
  return sums_[row_end * side_ + end] - sums_[row_begin * side_ + end] -
         sums_[row_end * side_ + begin] + sums_[row_begin * side_ + begin];
}

double EnergyDistances::statistic(size_t begin, size_t at, size_t end) const {
  const auto n = static_cast<double>(at - begin);
  const auto m = static_cast<double>(end - at);
  const double between = 2 * sum(begin, at, at, end) / (n * m);
  // A sum over all ordered pairs holds each pair twice, as the mean over pairs wants it.
  const double before = sum(begin, at, begin, at) / (n * (n - 1));
  const double after = sum(at, end, at, end) / (m * (m - 1));
  return n * m / (n + m) * (between - before - after);
}

std::optional<EnergyDistances::Split> EnergyDistances::best_split(size_t begin, size_t end,
                                                                  size_t fewest) const {
  std::optional<Split> best;
  double largest = 0;
  for (size_t at = begin + fewest; at + fewest <= end; ++at) {
    for (size_t to = at + fewest; to <= end; ++to) {
      const double value = statistic(begin, at, to);
      if (best && value <= largest) continue;
      largest = value;
      best = {.at = at, .end = to};
    }
  }
  return best;
}

}  // namespace nvfp4
