// SPDX-License-Identifier: Apache-2.0
// A run on its way into the history: recorded, compared with the one before it on the same card,
// and the series of the card searched for steps. What was found out is stored beside the
// measurements, so that every reader draws the same.
#pragma once

#include <vector>

#include "tuner/compare.h"

namespace nvfp4 {

struct JudgedRun {
  int64_t run = 0;
  int64_t previous = 0;             ///< 0: the first of its card
  std::vector<ComparedPair> pairs;  ///< none without a previous run
  StepsFound steps;
};

/// Throws what record() throws; then nothing was added.
JudgedRun record_and_judge(TuningDb& db, const SuiteResults& results);

/// Adds the comparisons unless the database has some of the same two runs.
void store(TuningDb& db, const std::vector<ComparedPair>& pairs);

}  // namespace nvfp4
