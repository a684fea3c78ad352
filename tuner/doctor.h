// SPDX-License-Identifier: Apache-2.0
// The command doctor: whether everything that tuning and serving need is there, what is wrong, and
// what to do about it. It changes nothing.
#pragma once

#include "tuner/commands.h"

namespace nvfp4 {

/// Exit code 3 without a usable GPU, driver or NVRTC, 1 with another problem.
Answered run_doctor(const CommandLine& line, const Terminal& terminal);

}  // namespace nvfp4
