// SPDX-License-Identifier: Apache-2.0
// When the search at one M has tried enough. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <span>

#include "tuning_db/records.h"

namespace nvfp4 {

/// An M is done once `fewest` candidates have passed and the last `fruitless` of them have brought
/// no gain.
struct Patience {
  int fewest = 1 << 30;
  int fruitless = 0;
};

/// The patience with each M: `few` below `boundary` tokens, `many` from there on.
struct Patiences {
  Patience few = {};
  Patience many = few;
  int64_t boundary = 0;

  const Patience& at(int64_t m) const { return m < boundary ? few : many; }
};

/// The candidates that passed at one M, in the order in which they were tried.
class Trials {
 public:
  /// A candidate passed; its rows, one for each policy. It is a gain when it is more than half a
  /// percent faster than all before under one of them: less is noise of the coarse times.
  void pass(std::span<const Measurement> rows);

  /// Keeps a place for a candidate that will be tried later.
  void reserve();

  int passed() const { return passed_; }

  /// How many must still pass before the M is done, if none of them brings a gain.
  int wanted(const Patience& patience) const;

 private:
  int passed_ = 0;
  int fruitless_ = 0;
  std::map<Policy, double> best_us_;
};

}  // namespace nvfp4
