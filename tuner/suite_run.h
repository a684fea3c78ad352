// SPDX-License-Identifier: Apache-2.0
// What the library would run for each shape and M of a suite, gated and timed: the database's
// choice, not a search. The gate, the clock and the ceilings are the tuner's.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "runtime/lookup.h"
#include "tuner/suite.h"
#include "tuner/suite_results.h"
#include "tuner/workshop.h"

namespace nvfp4 {

/// One product of a suite.
struct SuiteCell {
  Shape shape;
  int64_t m = 0;

  friend bool operator==(const SuiteCell&, const SuiteCell&) = default;
};

struct SuiteRequest {
  std::vector<Shape> shapes;
  std::vector<int64_t> tokens;  ///< ascending
  Activation act = Activation::bf16;
  bool baseline = false;  ///< cuBLASLt's bf16 product too
  uint64_t seed = 1;
  std::vector<SuiteCell> cells = {};  ///< these alone of shapes x tokens, unless it is empty
};

struct SuiteOutcome {
  RunEnd end = RunEnd::complete;
  bool wrong = false;  ///< a kernel gave wrong results
};

/// Measures shape by shape, M by M, what `results` does not hold yet, and adds it there; `progress`
/// is called after each row. Throws what Pipeline throws; the rows until then stay.
SuiteOutcome run_suite(const SuiteRequest& request, const Workshop& workshop,
                       const Snapshot& snapshot, SuiteResults& results,
                       const std::function<void()>& progress);

}  // namespace nvfp4
