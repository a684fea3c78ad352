// SPDX-License-Identifier: Apache-2.0
// The words of a command line, split: which command they name, what stands behind it, and what was
// given for each option. Nothing has a meaning yet.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tuner/command.h"

namespace nvfp4 {

struct TypedWords {
  Command command = Command::tune;
  std::vector<std::string> operands;  ///< as many as CommandSpec says
  /// By OptionSpec::name, those that were given; a flag has no values.
  std::map<std::string_view, std::vector<std::string>> options;
  std::string worker_role;  ///< worker: what is to be done
};

/// `arguments` without the program's name; options may stand anywhere. Throws UsageError.
TypedWords split_words(std::span<const std::string> arguments);

/// What --help prints.
std::string help_text();

}  // namespace nvfp4
