// SPDX-License-Identifier: Apache-2.0
// nvfp4-tune for more than one shape: a whole model, a list of shapes, or a share of either.
#pragma once

#include "tuner/commands.h"

namespace nvfp4 {

/// True when a tune command is about more than one shape on one device, or about a plan.
bool is_model_run(const CommandLine& line);

/// Plans, tunes shape by shape, and reports. What is known is not done again, so a run that ended
/// early goes on where it was. Throws what run_command() throws.
Answered run_model(CommandLine line, const Terminal& terminal);

}  // namespace nvfp4
