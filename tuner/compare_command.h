// SPDX-License-Identifier: Apache-2.0
// The command compare: two runs, databases or saved suites against each other.
#pragma once

#include "tuner/commands.h"

namespace nvfp4 {

/// Throws UsageError, DatabaseError, FileError.
Answered run_compare(const CommandLine& line, const Terminal& terminal);

}  // namespace nvfp4
