// SPDX-License-Identifier: Apache-2.0
// How a file is known to be ours and how an older one becomes a current one.
#pragma once

#include <cstdint>

namespace nvfp4 {

/// "nvf4" in the file's header: what tells our files from other programs'.
constexpr int64_t kApplicationId = 0x6e766634;

/// The version this build reads and writes.
constexpr int64_t kSchemaVersion = 1;

/// Step v takes a file from version v to v + 1; step 0 starts from nothing.
extern const char* const kMigrations[kSchemaVersion];

}  // namespace nvfp4
