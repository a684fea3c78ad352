// SPDX-License-Identifier: Apache-2.0
// What the commands of "db" are asked for.
#pragma once

#include <string>
#include <vector>

#include "tuner/db_request.h"
#include "tuner/option_values.h"

namespace nvfp4 {

/// Throws UsageError.
DbRequest read_db(const OptionValues& values, Command command,
                  const std::vector<std::string>& operands);

}  // namespace nvfp4
