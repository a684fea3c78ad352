// SPDX-License-Identifier: Apache-2.0
// mov in all its forms (copy, pack, unpack, clocks) and the address conversions of cvta.
#pragma once

#include "runtime/emulator/operand_binder.h"
#include "runtime/emulator/program.h"

namespace nvfp4::emulator {

/// Raises PtxError for a form it does not know.
void decode_move(const Statement& statement, OperandBinder& binder, Instruction& instruction);

}  // namespace nvfp4::emulator
