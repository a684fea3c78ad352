// SPDX-License-Identifier: Apache-2.0
// Whether a stranger's time can be true.
#pragma once

#include <optional>
#include <string>

#include "tuning_db/records.h"

namespace nvfp4 {

/// Why no card of this kind can have done it, with both numbers: a config that it cannot run for
/// such a problem, less time than its memory needs for the weights or its tensor cores for the
/// products, or more than 1.1 of the roofline. Empty when it can be, and for a row without a time.
std::optional<std::string> implausible(const Measurement& row);

}  // namespace nvfp4
