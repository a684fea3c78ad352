// SPDX-License-Identifier: Apache-2.0
// The correctness gate: what a kernel must pass on its device before any clock runs. Exact data,
// data coded by position, random data against a bound, special values, ragged M, dirty outputs and
// partial sums, guard zones, a second identical run, and a dependent launch that must wait for its
// input.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "generator/device.h"
#include "generator/problem.h"
#include "runtime/kernel.h"
#include "templates/kernel_config.h"
#include "tuner/jobs.h"
#include "tuning_db/records.h"

namespace nvfp4 {

/// The outcome of a gate that ran to its end.
struct GateResult {
  Verdict verdict = Verdict::ok;
  std::string text;  ///< the first failure, or what was covered
};

/// Test data of one problem, on the host and on the device, made when first needed and kept for
/// every kernel of the problem.
class Gate {
 public:
  /// `max_m`: the largest M that run() will be asked for. `threads` make the data.
  Gate(const Gpu& gpu, const Problem& problem, int64_t max_m, uint64_t seed, int threads);
  ~Gate();
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  /// Tries a kernel that was compiled for this problem. Throws CudaError when a launch fails: what
  /// that means for the candidate is verdict_of(). The context may be lost then.
  GateResult run(const Kernel& kernel, const KernelConfig& config, int64_t m, GateDepth depth);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// launch_error, fault or hang.
Verdict verdict_of(const CudaError& error);

/// Weight rows to gate on: all of them on a real GPU. An emulated device runs the whole grid up to
/// about five million warp instructions; beyond that, fewer rows with the real K, and the same
/// remainder of N.
int64_t gate_rows(const KernelConfig& config, const Problem& problem, int64_t m,
                  const Device& device);

/// Tokens to gate with: m, or fewer with the same remainder in a token tile, where m tokens would
/// not fit into memory or (on an emulated device, whatever the rows) would take for ever. `problem`
/// is the gated one, with gate_rows() rows.
int64_t gate_tokens(const KernelConfig& config, const Problem& problem, int64_t m,
                    const Device& device);

}  // namespace nvfp4
