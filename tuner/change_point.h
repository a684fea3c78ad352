// SPDX-License-Identifier: Apache-2.0
// Steps in the history of one series: E-divisive splitting (arXiv 1306.4933) with a t-test in place
// of permutations (arXiv 2301.03034), so that equal histories give equal answers. A step lasts: it
// has runs enough on both sides, nearly all of them on their own side of it, and a single outlier
// is never one. Where the SM clock is known, a step must be one in clock cycles too.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace nvfp4 {

/// One run of a series.
struct SeriesPoint {
  double us = 0;         ///< median; more than 0
  double clock_mhz = 0;  ///< 0: unknown
};

struct Step {
  size_t at = 0;       ///< the first point after it
  double ratio = 1;    ///< median after over median before
  double p_value = 1;  ///< that nothing changed, corrected for the places tried
};

struct SeriesSteps {
  bool tested = false;      ///< false: fewer than 4 runs say nothing
  std::vector<Step> steps;  ///< in order
};

/// The steps of several series count only after control_false_discoveries().
SeriesSteps find_steps(std::span<const SeriesPoint> series);

/// Drops the steps that chance explains, given how many series were tested.
void control_false_discoveries(std::span<SeriesSteps> family);

}  // namespace nvfp4
