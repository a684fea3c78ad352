// SPDX-License-Identifier: Apache-2.0
// Declarations of variables and parameters, with their initialisers.
#pragma once

#include "runtime/emulator/ptx_lexer.h"
#include "runtime/emulator/ptx_syntax.h"

namespace nvfp4::emulator {

/// Reads a declaration from behind its state space up to, not including, the ';' or ','. Raises
/// PtxError.
Variable parse_variable(PtxLexer& lexer, StateSpace space, bool is_extern);

}  // namespace nvfp4::emulator
