// SPDX-License-Identifier: Apache-2.0
// Results of a suite as a run on a card would leave them.
#pragma once

#include "tuner/suite_results.h"

namespace nvfp4 {

inline SuiteRow suite_row(int64_t n, int64_t k, int64_t m, double us) {
  const SuiteAnswer answer{
      .us = us, .family = "mma", .config = "family=mma,act=bf16,pdl=1", .answer = "user"};
  SuiteRow row{.n = n, .k = k, .m = m, .graph = answer, .pdl = answer};
  row.graph.us = us * 1.25;
  row.graph.config = "family=mma,act=bf16";
  return row;
}

/// One row of 64 x 128 at M = 8: 4608 packed bytes, 131072 operations.
inline SuiteResults suite_results() {
  return {.card = "NVIDIA H100 80GB HBM3",
          .driver = "580.159.03",
          .nvrtc = "13.0.88",
          .date = "2026-11-27T10:00:00Z",
          .commit = "abc1234",
          .command = "nvfp4-tune bench",
          .complete = true,
          .baseline = "cuBLASLt 13.1.0",
          .ceilings = {.read_gbps = 3000,
                       .read_us = {{4608, 2.0}},
                       .bf16_tflops = 700,
                       .assumed_tflops = 758,
                       .bf16_source = "bf16 rate: measured"},
          .rows = {suite_row(64, 128, 8, 4.0)}};
}

}  // namespace nvfp4
