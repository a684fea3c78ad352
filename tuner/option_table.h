// SPDX-License-Identifier: Apache-2.0
// The options of nvfp4-tune: one row an option.
#pragma once

#include <span>

#include "tuner/command.h"

namespace nvfp4 {

struct OptionSpec {
  const char* name;
  const char* value;  ///< null for a flag
  const char* help;
  Commands commands;  ///< that it means something to
};

/// In the order of the help.
std::span<const OptionSpec> option_specs();

}  // namespace nvfp4
