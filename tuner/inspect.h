// SPDX-License-Identifier: Apache-2.0
// nvfp4-tune inspect: what a checkpoint holds, what is wrong with it, what it needs on a card; and
// the packed file.
#pragma once

#include "tuner/commands.h"

namespace nvfp4 {

/// Exit code 1 when the checkpoint has problems. Throws UsageError, CheckpointError,
/// SafetensorsError, PackedFileError, JsonError, ModelConfigError, and with --memory what opening
/// the device throws.
Answered run_inspect(const CommandLine& line, const Terminal& terminal);

}  // namespace nvfp4
