// SPDX-License-Identifier: Apache-2.0
// From a checked command line and a device to what the library and the tuner are asked.
#pragma once

#include <vector>

#include "tuner/commands.h"
#include "tuner/tune.h"

namespace nvfp4 {

Problem problem_of(const CommandLine& line, const Device& device);

/// The policy that was asked for, else all that the device has. Throws UsageError for one that it
/// does not have.
std::vector<Policy> policies_of(const CommandLine& line, const Device& device);

/// Throws UsageError for a config that the device cannot run under one of `policies`.
void check_configs(const CommandLine& line, const Device& device,
                   const std::vector<Policy>& policies);

/// Everything of a tuning request; of several shapes, for the first. Throws UsageError.
TuneRequest tune_request(const CommandLine& line, const Device& device);

/// What a run amounts to that should have found `wanted` winners.
ExitCode exit_code(const TuneOutcome& outcome, size_t wanted);

}  // namespace nvfp4
