// SPDX-License-Identifier: Apache-2.0
// How good and how steady the tuner's choice is: what fresh processes pick, the best of a sweep
// over the whole space, and all of them timed against each other in one series.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tuner/pick.h"

namespace nvfp4 {

struct Table;  // table.h

/// One (shape, M).
struct RegretCell {
  PickTarget target;
  std::vector<Pick> picks;              ///< one a process
  int swept = 0;                        ///< configs of the sweep that passed the gate
  std::string best;                     ///< of the sweep; empty: not swept yet
  std::map<std::string, double> us;     ///< of every pick and the best, from one series
  std::map<std::string, double> ratio;  ///< time over that of the fastest of them, paired

  /// What most processes picked, and how many did; the first in the alphabet of several.
  std::pair<std::string, int> mode() const;
  /// ratio - 1 of each pick that has one.
  std::vector<double> regrets() const;
};

struct RegretResults {
  std::string card;
  std::string driver;
  std::string nvrtc;
  std::string commit;
  std::string act;
  std::string policy;
  std::string effort;
  uint64_t seed = 1;
  int sweep = 0;  ///< configs wanted in each cell
  bool modelled = true;
  int processes = 0;  ///< that have picked; each for every cell
  std::vector<RegretCell> cells;
};

/// Order statistic with linear interpolation, share 0 to 1; 0 for no values.
double share_of(std::vector<double> values, double share);

/// One row a cell; the facts hold median, 95 % and worst regret over all picks, and the flip rate:
/// the share of picks that differ from their cell's most frequent one.
Table regret_table(const RegretResults& results);

/// As a file that a later run goes on from.
std::string regret_text(const RegretResults& results);
/// Empty when the text is no such file.
std::optional<RegretResults> parse_regret(std::string_view text);

/// True when picks and sweeps of `old` answer what `wanted` asks.
bool same_question(const RegretResults& old, const RegretResults& wanted);

}  // namespace nvfp4
