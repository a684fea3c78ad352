// SPDX-License-Identifier: Apache-2.0
// From what happened to what is stored: database rows of candidates, with every figure that a
// reader needs to judge a time.
#pragma once

#include <optional>
#include <string_view>

#include "generator/device.h"
#include "runtime/compilation.h"
#include "tuner/jobs.h"
#include "tuning_db/records.h"

namespace nvfp4 {

KernelRecord kernel_record(const KernelConfig& config, std::string_view source,
                           const Compilation& compilation);

/// Why a compiled candidate is not worth running: it does not compile, spills registers, or lets
/// ptxas serialise its wgmma. The text is one line.
struct CompileFault {
  Verdict verdict = Verdict::compile_error;
  std::string text;
};
std::optional<CompileFault> compile_fault(const Compilation& compilation);

/// Fastest time the card allows: max(per-launch read of the weights, 2 M N K / tensor rate),
/// seconds.
double roofline_time(const Problem& problem, int64_t m, const Ceilings& ceilings);

/// Fills in what follows from a median and the ceilings of its run.
void derive_figures(Timing& timing, const Problem& problem, int64_t m, const Ceilings& ceilings);

/// Statistics of samples and the figures derived from them.
Timing timing_of(const PolicyTimes& times, const Problem& problem, int64_t m,
                 const Ceilings& ceilings);

/// What the cost model says, for devices without a clock.
Timing modelled_timing(const KernelConfig& config, const Problem& problem, int64_t m, Policy policy,
                       const Device& device, const Ceilings& ceilings);

}  // namespace nvfp4
