// SPDX-License-Identifier: Apache-2.0
// nvfp4-tune dashboard: databases as one page that opens by double click.
#pragma once

#include "tuner/commands.h"

namespace nvfp4 {

/// Writes DIR/index.html. Throws UsageError, DatabaseError, FileError.
Answered run_dashboard(const CommandLine& line, const Terminal& terminal);

}  // namespace nvfp4
