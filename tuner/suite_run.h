// SPDX-License-Identifier: Apache-2.0
// What the library would run for each shape and M of a suite, gated and timed: the database's
// choice, not a search. The gate, the clock and the ceilings are the tuner's.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runtime/lookup.h"
#include "tuner/pipeline.h"
#include "tuner/suite.h"

namespace nvfp4 {

struct SuiteRequest {
  std::vector<Shape> shapes;
  std::vector<int64_t> tokens;  ///< ascending
  Activation act = Activation::bf16;
  bool baseline = false;  ///< cuBLASLt's bf16 product too
  uint64_t seed = 1;
};

/// The kernel that answers under one launch policy, and how it did.
struct SuiteAnswer {
  KernelConfig config;
  std::string answer;        ///< layer, match and provenance: "user exact measured"
  std::optional<double> us;  ///< empty when it did not come to a time
  Verdict verdict = Verdict::ok;
  std::string text;  ///< what the gate covered, or why there is no time
};

struct SuiteRow {
  Shape shape;
  int64_t m = 0;
  SuiteAnswer graph;
  std::optional<SuiteAnswer> pdl;      ///< empty on a GPU without dependent launches
  std::optional<double> us_cublas;     ///< empty when not asked for or not to be had
  double read_us = 0;                  ///< per-launch read of this shape's weights
  double stream_bytes_per_s = 0;       ///< long read, measured with this shape
  std::optional<double> best() const;  ///< the better policy's time
};

struct SuiteOutcome {
  std::vector<SuiteRow> rows;
  bool modelled = false;             ///< every time is the cost model's
  std::optional<double> bf16_flops;  ///< measured in this run
  double assumed_flops = 0;          ///< of the data sheet, scaled; what F uses without the other
  std::string rate_source;           ///< one line on the two
  std::string baseline;              ///< library, or why it is not there; empty: not asked for
  RunEnd end = RunEnd::complete;

  double flops() const { return bf16_flops.value_or(assumed_flops); }
};

/// Measures shape by shape, M by M; `progress` sees the outcome after each row. Throws what
/// Pipeline throws.
SuiteOutcome run_suite(const SuiteRequest& request, const Workshop& workshop,
                       const Snapshot& snapshot,
                       const std::function<void(const SuiteOutcome&)>& progress);

}  // namespace nvfp4
