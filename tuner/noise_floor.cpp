// SPDX-License-Identifier: Apache-2.0
// Medians, so that the few runs that were slow for reasons of their own do not hide a change.
#include "tuner/noise_floor.h"

#include <cmath>

#include "tuner/statistics.h"

namespace nvfp4 {
namespace {

// An H100 at M <= 16, whose medians of two runs differ by 0.3 % half of the time (tuning_db/gpus
// against tuning_db/bench).
constexpr double kAssumed = 0.013;

// The median distance of normal noise is 0.6745 deviations.
double three_deviations(const std::vector<float>& distances) {
  return std::expm1(3 / 0.6745 * quartiles(distances).median);
}

}  // namespace

void NoiseFloor::add(int64_t m, double ratio) {
  if (!(ratio > 0)) return;
  const auto distance = static_cast<float>(std::abs(std::log(ratio)));
  all_.push_back(distance);
  by_tokens_[m].push_back(distance);
}

double NoiseFloor::at(int64_t m) const {
  const auto own = by_tokens_.find(m);
  if (own != by_tokens_.end() && own->second.size() >= kFewestPairs) {
    return three_deviations(own->second);
  }
  return assumed() ? kAssumed : three_deviations(all_);
}

}  // namespace nvfp4
