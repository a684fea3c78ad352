// SPDX-License-Identifier: Apache-2.0
// Histories of one series as a card would leave them, with the truth known. The noise is that of
// the H100's rows at M <= 16: the 15 samples of a run have quartiles 0.3 to 1 % apart
// (tuning_db/gpus/h100-sxm5.csv), the median of an unchanged kernel moves by 0.3 % from run to run
// (those rows against tuning_db/bench/h100-sxm5.json), and about one run in 30 is 2 to 10 % slow
// for reasons of its own. A kernel that computes follows the SM clock, one that reads memory does
// not.
#pragma once

#include <climits>
#include <cstdint>
#include <random>
#include <vector>

#include "tuner/change_point.h"
#include "tuner/statistics.h"

namespace nvfp4 {

struct NoiseModel {
  double quartiles = 0.007;     ///< their distance within a run, over the median
  double run = 0.003;           ///< standard deviation of what a run has of its own
  double outliers = 1.0 / 30;   ///< share of the runs that are slow by 2 to 10 %
  double slow_clock = 0;        ///< share of the runs at 1755 instead of 1980 MHz
  int lowered_after = INT_MAX;  ///< runs, after which it is 1755 MHz for good
  bool computes = false;        ///< its time follows the clock
  bool clock_known = true;
  double drift = 0;  ///< over 100 runs
};

struct SyntheticRun {
  std::vector<float> samples_us;
  double clock_mhz = 0;

  SeriesPoint point() const { return {.us = quartiles(samples_us).median, .clock_mhz = clock_mhz}; }
};

class SyntheticHistory {
 public:
  SyntheticHistory(const NoiseModel& noise, uint64_t seed) : noise_(noise), random_(seed) {}

  /// The next run of a kernel that takes `factor` times as long as at first.
  SyntheticRun next(double factor = 1) {
    const bool slow = chance(noise_.slow_clock) || runs_ >= noise_.lowered_after;
    const double clock = slow ? 1755 : 1980;
    double us = 20 * factor * (1 + noise_.run * normal()) * (1 + noise_.drift * runs_++ / 100);
    if (chance(noise_.outliers)) us *= std::uniform_real_distribution(1.02, 1.10)(random_);
    if (noise_.computes) us *= 1980 / clock;
    SyntheticRun run{.clock_mhz = noise_.clock_known ? clock : 0};
    for (int i = 0; i < 15; ++i) {
      // The quartiles of a normal distribution are 1.349 deviations apart.
      run.samples_us.push_back(static_cast<float>(us * (1 + noise_.quartiles / 1.349 * normal())));
    }
    return run;
  }

 private:
  bool chance(double share) { return std::bernoulli_distribution(share)(random_); }
  double normal() { return std::normal_distribution()(random_); }

  NoiseModel noise_;
  std::mt19937_64 random_;
  int runs_ = 0;
};

}  // namespace nvfp4
