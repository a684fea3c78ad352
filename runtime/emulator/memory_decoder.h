// SPDX-License-Identifier: Apache-2.0
// ld, st, atom, red, cp.async and prefetch: opcodes whose modifiers multiply.
#pragma once

#include "runtime/emulator/operand_binder.h"
#include "runtime/emulator/program.h"

namespace nvfp4::emulator {

/// False when the opcode is none of these; raises PtxError for a modifier it does not know. Narrows
/// function.shared_cell to the access.
bool decode_memory(const Statement& statement, OperandBinder& binder, Function& function,
                   Instruction& instruction);

}  // namespace nvfp4::emulator
