// SPDX-License-Identifier: Apache-2.0
// How well predicted times order measured ones.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "tuner/regret.h"

namespace nvfp4 {

struct TimedRow {
  double us = 0;         ///< measured
  double predicted = 0;  ///< in the same unit
};

struct Accuracy {
  size_t rows = 0;
  size_t rank = 0;    ///< place of the best in the predicted order; of its equals, of the first
  double regret = 0;  ///< by which the first of that order is slower than the best: 0.05 is 5 %
  double error = 0;   ///< median of |ln(predicted / measured)|
};

/// Of at least one row. Rows within 1 % of the fastest are its equals.
inline Accuracy accuracy(std::vector<TimedRow> rows) {
  constexpr double kTie = 0.01;
  std::ranges::stable_sort(rows, {}, &TimedRow::predicted);
  const double best = std::ranges::min(rows, {}, &TimedRow::us).us;
  const auto equal = [&](const TimedRow& row) { return row.us <= best * (1 + kTie); };
  std::vector<double> errors;
  for (const TimedRow& row : rows) errors.push_back(std::abs(std::log(row.predicted / row.us)));
  return {.rows = rows.size(),
          .rank = static_cast<size_t>(std::ranges::find_if(rows, equal) - rows.begin()) + 1,
          .regret = rows.front().us / best - 1,
          .error = share_of(errors, 0.5)};
}

}  // namespace nvfp4
