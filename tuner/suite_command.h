// SPDX-License-Identifier: Apache-2.0
// The command bench: measures a suite, or puts together what earlier runs saved; then shows, keeps
// and draws it.
#pragma once

#include "tuner/commands.h"

namespace nvfp4 {

/// Throws what run_command() throws.
Answered run_bench(const CommandLine& line, const Terminal& terminal);

}  // namespace nvfp4
