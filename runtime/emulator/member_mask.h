// SPDX-License-Identifier: Apache-2.0
// The rule of every .sync instruction that names its lanes.
#pragma once

#include "runtime/emulator/warp.h"

namespace nvfp4::emulator {

/// Every lane that executes must be named by its own mask, and every living lane that a mask names
/// must be executing; otherwise a barrier_divergence fault.
void check_members(Warp& warp, Slot slot);

}  // namespace nvfp4::emulator
