// SPDX-License-Identifier: Apache-2.0
// The command db: what a database holds, and its life between machines.
#pragma once

#include "tuner/commands.h"

namespace nvfp4 {

/// Throws what run_command() throws.
Answered run_db(const CommandLine& line, const Terminal& terminal);

}  // namespace nvfp4
