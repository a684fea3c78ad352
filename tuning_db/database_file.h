// SPDX-License-Identifier: Apache-2.0
// From a path to a connection that can be trusted: creation, recognition, migration, and setting
// aside what is broken.
#pragma once

#include <string>
#include <vector>

#include "tuning_db/sqlite.h"

namespace nvfp4 {

/// Opens as TuningDb's constructor promises; what was set aside is one line in `warnings`.
Connection open_database(const std::string& path, Access access,
                         std::vector<std::string>& warnings);

}  // namespace nvfp4
