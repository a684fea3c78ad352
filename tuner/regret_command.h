// SPDX-License-Identifier: Apache-2.0
// nvfp4-tune regret: what the tuner picks, held against a sweep of the space it searches.
#pragma once

#include "tuner/commands.h"

namespace nvfp4 {

/// Throws what run_command() may throw.
Answered run_regret(const CommandLine& line, const Terminal& terminal);

}  // namespace nvfp4
