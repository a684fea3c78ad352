// SPDX-License-Identifier: Apache-2.0
// How a file is known to be ours.
#pragma once

#include <cstdint>

namespace nvfp4 {

/// "nvf4" in the file's header: what tells our files from other programs'.
constexpr int64_t kApplicationId = 0x6e766634;

/// The version this build reads and writes.
constexpr int64_t kSchemaVersion = 2;

/// The statements that make an empty database of version v are kSchemas[v - 1].
extern const char* const kSchemas[kSchemaVersion];

}  // namespace nvfp4
