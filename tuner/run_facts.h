// SPDX-License-Identifier: Apache-2.0
// What a run says about when and with what it was made.
#pragma once

#include <string>

#include "runtime/driver.h"

namespace nvfp4 {

/// Now, UTC, ISO 8601: "2026-11-23T10:05:00Z".
std::string utc_now();

/// The CUDA version that a driver supports, "13.0", or "emulator".
std::string driver_name(const Driver& driver);

/// The kernel module's own number, "580.159.03", where the system tells it; else driver_name().
std::string driver_release(const Driver& driver);

/// The commit that this program was configured from, as git describe says it, or "unknown".
std::string build_commit();

}  // namespace nvfp4
