// SPDX-License-Identifier: Apache-2.0
// How surprising a difference is if nothing changed: the three tests behind verdicts and change
// points. Pure functions; a p-value of 0 means less than double arithmetic can tell from it.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace nvfp4 {

/// Two-sided p-value of Student's t with `freedom` >= 1 degrees of freedom.
double student_p(double t, int freedom);

/// Two-sided p-value of the Mann-Whitney U test, by the normal approximation with continuity and
/// tie corrections: good from 8 samples a side on. 1 when every sample is the same.
double mann_whitney_p(std::span<const float> a, std::span<const float> b);

/// Benjamini-Hochberg: which of `p_values` to believe so that of those believed at most a share of
/// `rate` is expected to be false. `tests` counts the tests made, those without a p-value worth
/// listing included; it is at least p_values.size().
std::vector<bool> discoveries(std::span<const double> p_values, size_t tests, double rate);

}  // namespace nvfp4
