// SPDX-License-Identifier: Apache-2.0
// From syntax to code that runs: every statement becomes one instruction (now and then two), every
// operand a slot.
#pragma once

#include "runtime/emulator/program.h"
#include "runtime/emulator/ptx_syntax.h"

namespace nvfp4::emulator {

/// Raises PtxError for whatever it does not know.
Module decode(const SyntaxTree& tree);

}  // namespace nvfp4::emulator
