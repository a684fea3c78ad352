// SPDX-License-Identifier: Apache-2.0
// A comparison as people and scripts see it: a table for each question, what did not change only
// counted.
#pragma once

#include <string>
#include <vector>

#include "tuner/command_line.h"
#include "tuner/compare.h"

namespace nvfp4 {

/// What is to be said beside the pairs.
struct ComparedFacts {
  std::string old_name;  ///< in full: "run 12, 2026-11-27, commit 8c0a50c, NVIDIA H100 80GB HBM3"
  std::string new_name;
  size_t noise_pairs = 0;     ///< of equal machine code that the card's history holds
  bool noise_assumed = true;  ///< they are too few
};

std::string compare_text(const std::vector<ComparedPair>& pairs, const ComparedFacts& facts,
                         Format format);

/// "2 slower, 1 faster, 17 unchanged": one line on a question.
std::string tally_text(const Tally& tally);

}  // namespace nvfp4
