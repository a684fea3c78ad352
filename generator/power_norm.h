// SPDX-License-Identifier: Apache-2.0
// How two streams of work share a machine: at p = 1 they add up, and the larger p, the better the
// shorter hides behind the longest.
#pragma once

#include <cmath>
#include <initializer_list>

namespace nvfp4 {

inline double power_norm(double p, std::initializer_list<double> terms) {
  double sum = 0;
  for (const double term : terms) sum += std::pow(term, p);
  return std::pow(sum, 1 / p);
}

}  // namespace nvfp4
