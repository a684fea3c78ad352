// SPDX-License-Identifier: Apache-2.0
// Two sets of measurements, series by series, and two questions that never mix: did the same kernel
// get slower (code, compiler, driver), and did what the library runs get slower (tuning)?
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tuner/noise_floor.h"
#include "tuner/run_history.h"
#include "tuner/suite_results.h"

namespace nvfp4 {

/// One side. A run, a whole database, or a saved suite.
struct ComparedSide {
  std::string name;               ///< what to call it
  int64_t run = 0;                ///< 0: not one run of a database
  std::vector<Measurement> rows;  ///< the latest of each series and config
  std::map<std::string, size_t>
      answers;  ///< by series: index of the row that the library would run
};

/// The rows of one run. What a recorded run measured is what the library ran; of a tuning run it is
/// the fastest of those measured best.
ComparedSide side_of(const RunHistory& history, const RunRecord& run);

/// All of a database: the latest word on each series, a recorded time or a winner's evidence.
ComparedSide side_of(const RunHistory& history, const std::vector<Winner>& winners);

ComparedSide side_of(const SuiteResults& results);

struct ComparedPair {
  Comparison result;
  std::optional<Measurement> base;
  std::optional<Measurement> now;
};

/// Broken and slower first, by impact; then faster, ambiguous, missing, added, same, unchanged.
std::vector<ComparedPair> compare(const ComparedSide& base, const ComparedSide& now,
                                  const NoiseFloor& noise);

/// What the pairs of one question come to.
struct Tally {
  std::array<int64_t, 8> counts = {};  ///< by Change
  int64_t compared = 0;                ///< cells with a time on both sides
  double geomean = 0;                  ///< of their ratios; 0 when there are none

  int64_t of(Change change) const { return counts[static_cast<size_t>(change)]; }
};
Tally tally(const std::vector<ComparedPair>& pairs, Question question);

/// Whether what the library runs got slower or broke.
bool regressed(const std::vector<ComparedPair>& pairs);

}  // namespace nvfp4
