// SPDX-License-Identifier: Apache-2.0
// The few robust statistics of the tuner: order statistics of samples and of paired ratios. Times
// have long right tails, so means appear nowhere.
#pragma once

#include <span>

namespace nvfp4 {

/// Ratios of times within this of 1 are ties: such differences change from day to day.
constexpr double kTieBand = 0.02;

struct Quartiles {
  double q1 = 0;
  double median = 0;
  double q3 = 0;
};

/// Linear interpolation between order statistics; all zero for no samples.
Quartiles quartiles(std::span<const float> samples);

/// Median over i of numerator[i] / denominator[i]; both of equal length, at least 1.
double paired_ratio(std::span<const float> numerator, std::span<const float> denominator);

/// Half of the 95 % interval of the median of the paired ratios (1.57 IQR / sqrt n, McGill's
/// notch): what a longer measurement would still move it by. Infinite for fewer than 5 pairs.
double paired_uncertainty(std::span<const float> numerator, std::span<const float> denominator);

}  // namespace nvfp4
