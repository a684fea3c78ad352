// SPDX-License-Identifier: Apache-2.0
// PTX has as many registers as the compiler cared to name, thousands in an unrolled kernel, and a
// warp needs 128 bytes for each. Sharing the space of registers that are never live together
// shrinks a warp's file to what fits a core's cache.
#pragma once

#include "runtime/emulator/program.h"

namespace nvfp4::emulator {

/// Renumbers the register slots of `function` and sets its register_bytes. The control flow must be
/// final.
void allocate_registers(Function& function);

}  // namespace nvfp4::emulator
