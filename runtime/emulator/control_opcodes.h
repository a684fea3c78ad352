// SPDX-License-Identifier: Apache-2.0
// Branches, whose operands are labels and so are bound by the decoder.
#pragma once

#include "runtime/emulator/program.h"

namespace nvfp4::emulator {

void execute_branch(Warp& warp, const Instruction& instruction);
void execute_branch_table(Warp& warp, const Instruction& instruction);  ///< brx.idx
void execute_exit(Warp& warp, const Instruction& instruction);

}  // namespace nvfp4::emulator
