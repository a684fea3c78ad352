// SPDX-License-Identifier: Apache-2.0
// The verb verify of the command db: stored winners go through the gate and the clock again.
#pragma once

#include "tuner/commands.h"

namespace nvfp4 {

/// Exit code 4 when a kernel is wrong now, 5 when one got slower, 1 when one fails otherwise.
/// Changes no database. Throws what run_command() throws.
Answered run_db_verify(const CommandLine& line, const Terminal& terminal);

}  // namespace nvfp4
