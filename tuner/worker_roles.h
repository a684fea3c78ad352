// SPDX-License-Identifier: Apache-2.0
// What the program does when it is started again as a worker.
#pragma once

#include <string>

namespace nvfp4 {

/// Serves requests of the role "compile", "bench" or "tune" until the tuner hangs up; returns an exit code.
/// Throws UsageError for another role.
int serve_role(const std::string& role);

}  // namespace nvfp4
