// SPDX-License-Identifier: Apache-2.0
// The energy distance between two parts of a sequence, and the split that makes it largest
// (Matteson and James, arXiv 1306.4933, with exponent 1).
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace nvfp4 {

/// Sums of distances within a window, so that any split of it costs a few additions.
class EnergyDistances {
 public:
  explicit EnergyDistances(std::span<const double> values);

  /// The scaled sample energy distance of [begin, at) and [at, end).
  double statistic(size_t begin, size_t at, size_t end) const;

  struct Split {
    size_t at = 0;
    size_t end = 0;  ///< the part after the split ends here: what follows may differ again
  };
  /// The split of [begin, end) with the largest statistic, `fewest` values in each part; empty when
  /// there is no room for one.
  std::optional<Split> best_split(size_t begin, size_t end, size_t fewest) const;

 private:
  double sum(size_t row_begin, size_t row_end, size_t begin, size_t end) const;

  size_t side_;
  std::vector<double> sums_;  ///< of |x_i - x_j| over all i and j before
};

}  // namespace nvfp4
