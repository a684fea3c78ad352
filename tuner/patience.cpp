// SPDX-License-Identifier: Apache-2.0
// Counting passes without a gain.
#include "tuner/patience.h"

#include <algorithm>

namespace nvfp4 {
namespace {

constexpr double kGain = 5e-3;

}  // namespace

void Trials::pass(std::span<const Measurement> rows) {
  ++passed_;
  ++fruitless_;
  for (const Measurement& row : rows) {
    const double us = row.timing.median_us;
    const auto [best, first] = best_us_.emplace(row.policy, us);
    if (first || us < best->second * (1 - kGain)) fruitless_ = 0;
    best->second = std::min(best->second, us);
  }
}

void Trials::reserve() {
  ++passed_;
  ++fruitless_;
}

int Trials::wanted(const Patience& patience) const {
  return std::max({patience.fewest - passed_, patience.fruitless - fruitless_, 0});
}

}  // namespace nvfp4
