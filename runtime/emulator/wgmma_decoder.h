// SPDX-License-Identifier: Apache-2.0
// wgmma.mma_async has more operands than an entry of the opcode table.
#pragma once

#include "runtime/emulator/operand_binder.h"

namespace nvfp4::emulator {

/// Decodes `statement` if it is one; false otherwise.
bool decode_wgmma(const Statement& statement, OperandBinder& binder, Function& function,
                  Instruction& instruction);

}  // namespace nvfp4::emulator
