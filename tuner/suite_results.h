// SPDX-License-Identifier: Apache-2.0
// What a suite measured: times, ceilings, and with what they were made. Nothing here is derived;
// figures() derives, so that results that were merged are all judged by the same ceilings.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "generator/problem.h"
#include "tuning_db/records.h"

namespace nvfp4 {

/// What stands behind an answer, for a history to keep.
struct SuiteEvidence {
  Verdict verdict = Verdict::ok;
  KernelRecord kernel;
  Timing timing;  ///< no figures that follow from ceilings
  std::vector<float> samples_us;
};

/// How the kernel that answers under one launch policy did.
struct SuiteAnswer {
  std::optional<double> us;  ///< empty when it did not come to a time
  std::string family;
  std::string config;  ///< canonical text
  std::string answer;  ///< who chose it: "user", "shipped near_m", "default"
  std::string note;    ///< why there is no time
  std::optional<SuiteEvidence> evidence = {};  ///< empty in files that hold none
};

/// How far the samples of another library's time spread.
struct SuiteSpread {
  double q1_us = 0;
  double q3_us = 0;
  int samples = 0;  ///< 0: unknown
};

struct SuiteRow {
  int64_t n = 0;
  int64_t k = 0;
  int64_t m = 0;
  Activation act = Activation::bf16;
  SuiteAnswer graph;
  std::optional<SuiteAnswer> pdl;   ///< empty on a GPU without dependent launches
  std::optional<double> us_cublas;  ///< empty when not asked for or not to be had
  SuiteSpread cublas_spread = {};

  /// The answer under the default policy: graph+pdl where the GPU has it.
  const SuiteAnswer& preferred() const { return pdl ? *pdl : graph; }
  bool timed() const { return graph.us && preferred().us; }
};

struct SuiteCeilings {
  double read_gbps = 0;               ///< of a long stream; 0: unknown
  std::map<int64_t, double> read_us;  ///< of one launch that reads so many bytes
  std::optional<double> bf16_tflops;  ///< measured
  double assumed_tflops = 0;          ///< from the data sheet; 0: unknown
  std::string bf16_source;            ///< one line on the two

  /// What F uses.
  double tflops() const { return bf16_tflops.value_or(assumed_tflops); }
};

struct SuiteResults {
  std::string card;
  std::string driver;
  std::string nvrtc;
  std::string date;
  std::string commit;
  std::string command;
  bool modelled = false;                 ///< every time is the cost model's
  bool complete = false;                 ///< everything that was asked for is there
  std::string baseline;                  ///< library, or why it is not there; empty: not asked for
  std::optional<DeviceKey> device = {};  ///< empty in files that do not say it
  Toolchain toolchain = {};              ///< its nvrtc is the one above
  uint64_t seed = 1;
  SuiteCeilings ceilings;
  std::vector<SuiteRow> rows;

  /// The row of a product, or null.
  const SuiteRow* find(int64_t n, int64_t k, int64_t m, Activation act) const;
};

/// What follows from a row, of the default policy unless it says otherwise; empty: unknown.
struct SuiteFigures {
  std::optional<double> roof_us;  ///< the least that the ceilings allow
  std::optional<double> f;        ///< roof_us over the time
  std::optional<double> f_no_pdl;
  std::optional<double> gbps;
  std::optional<double> tflops;
  std::optional<double> stream_fraction;  ///< GB/s over a long stream's
  std::optional<double> ratio_cublas;     ///< cuBLASLt's time over ours
};
SuiteFigures figures(const SuiteCeilings& ceilings, const SuiteRow& row);

/// Results that do not go together; the message says in what they differ.
class MergeError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Adds a later slice of the same suite: its rows replace equal ones. Throws MergeError unless
/// card, driver and provenance agree.
void merge(SuiteResults& results, const SuiteResults& later);

}  // namespace nvfp4
