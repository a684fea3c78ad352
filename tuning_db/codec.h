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
  struct Run {
    int64_t device = 0;
    int64_t toolchain = 0;
  };
  std::map<int64_t, DeviceKey> devices;
  std::map<int64_t, Toolchain> toolchains;
  std::map<int64_t, Problem> problems;
  std::map<int64_t, KernelRecord> kernels;
  std::map<int64_t, Run> runs;
};

/// A winner as stored: what its evidence says is not repeated in its row.
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
Row encode(const RunRecord& run, const References::Run& ids);
Row encode(const Measurement& measurement, const MeasurementIds& ids);
Row encode(const Winner& winner, const WinnerIds& ids);

DeviceKey decode_device(RowReader row);
Toolchain decode_toolchain(RowReader row);
Problem decode_problem(RowReader row);
KernelRecord decode_kernel(RowReader row);
References::Run decode_run(RowReader row);
Measurement decode_measurement(RowReader row, int64_t id, const References& references);
Winner decode_winner(RowReader row, const References& references);

/// A config's canonical text, else a BadRow.
KernelConfig decode_config(const std::string& text);

/// Valid UTF-8 without control characters (line breaks and tabs stay), at most `limit` bytes. What
/// is written passes through it, and what is read must be a fixed point of it.
std::string clean_text(std::string_view text, size_t limit);

}  // namespace nvfp4
