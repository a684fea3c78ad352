// SPDX-License-Identifier: Apache-2.0
// What a command is to work on: shapes or a model, token counts, and which share of all that.
#pragma once

#include "tuner/command_line.h"
#include "tuner/option_values.h"

namespace nvfp4 {

/// --shape, each once, into line.shapes. Throws UsageError.
void read_shapes(const OptionValues& values, CommandLine& line);

/// --M into line.tokens. Throws UsageError, also when it is missing and needed.
void read_tokens(const OptionValues& values, CommandLine& line);

/// --model and --tp. Throws UsageError.
void read_model_options(const OptionValues& values, CommandLine& line);

/// All of it, for tune, lookup and emit.
void read_work(const OptionValues& values, CommandLine& line);

}  // namespace nvfp4
