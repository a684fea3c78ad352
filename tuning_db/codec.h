// SPDX-License-Identifier: Apache-2.0
// Records to rows and back. Decoding trusts nothing: types, ranges, names and configs are checked,
// and what does not fit is a BadRow.
#pragma once

#include <map>

#include "tuning_db/records.h"
#include "tuning_db/row.h"

namespace nvfp4 {

/// The rows that others refer to by id; only valid ones are here.
struct References {
  std::map<int64_t, DeviceKey> devices;
  std::map<int64_t, Toolchain> toolchains;
  std::map<int64_t, Problem> problems;
  std::map<int64_t, KernelRecord> kernels;
  std::map<int64_t, RunRecord> runs;
};

/// What a row refers to, as it is stored.
struct RunIds {
  int64_t device = 0;
  int64_t toolchain = 0;
};
struct MeasurementIds {
  int64_t run = 0;
  int64_t kernel = 0;
  int64_t problem = 0;
};
struct WinnerIds {
  int64_t device = 0;
  int64_t problem = 0;
};

Row encode(const DeviceKey& device);
Row encode(const Toolchain& toolchain);
Row encode(const Problem& problem);
Row encode(const KernelRecord& kernel);
Row encode(const RunRecord& run, const RunIds& ids);
Row encode(const Measurement& measurement, const MeasurementIds& ids);
/// What its evidence says is not repeated in a winner's row.
Row encode(const Winner& winner, const WinnerIds& ids);
Row encode(const Comparison& comparison, int64_t problem);
Row encode(const ChangePoint& step, int64_t problem);
Row encode(const Rival& rival, int64_t problem);

DeviceKey decode_device(RowReader row);
Toolchain decode_toolchain(RowReader row);
Problem decode_problem(RowReader row);
KernelRecord decode_kernel(RowReader row);
RunRecord decode_run(RowReader row, int64_t id, const References& references);
Measurement decode_measurement(RowReader row, int64_t id, const References& references);
Winner decode_winner(RowReader row, const References& references);
Comparison decode_comparison(RowReader row, int64_t id, const References& references);
ChangePoint decode_change_point(RowReader row, int64_t id, const References& references);
Rival decode_rival(RowReader row, int64_t id, const References& references);

/// A config's canonical text, else a BadRow.
KernelConfig decode_config(const std::string& text);

constexpr size_t kShortText = 128;  ///< bytes of hashes, versions, names

/// Valid UTF-8 without control characters (line breaks and tabs stay) or invisible marks, each a
/// '?' then, at most `limit` bytes. What is written passes through it, and what is read must be a
/// fixed point of it.
std::string clean_text(std::string_view text, size_t limit);

}  // namespace nvfp4
