// SPDX-License-Identifier: Apache-2.0
// The copies of the async proxy: cp.async.bulk, its tensor form and st.async. A copy is made when
// it is issued, but its bytes belong to the mbarrier's phase in progress (or, out of shared memory,
// to the thread's bulk group): who touches them without having seen that end is found out, whenever
// it runs.
#pragma once

#include "runtime/emulator/operand_binder.h"
#include "runtime/emulator/warp.h"

namespace nvfp4::emulator {

/// Decodes cp.async.bulk... and st.async; false when `statement` is neither.
bool decode_bulk_copy(const Statement& statement, OperandBinder& binder, Function& function,
                      Instruction& instruction);

// What decoded instructions execute. Address operands come first, with the instruction's three
// immediates as their offsets.

/// Operands: target, source, mbarrier, bytes, CTA mask or none.
void execute_bulk_load(Warp& warp, const Instruction& instruction);
/// The same from the executing CTA's shared memory to a peer's.
void execute_bulk_send(Warp& warp, const Instruction& instruction);
/// Operands: target, source, bytes.
void execute_bulk_store(Warp& warp, const Instruction& instruction);
/// Operands: target, tensor map, mbarrier, x, y, CTA mask or none.
void execute_tensor_load(Warp& warp, const Instruction& instruction);
/// Operands: tensor map, source, x, y.
void execute_tensor_store(Warp& warp, const Instruction& instruction);
/// Operands: target, mbarrier, elements; flags: bytes of an element.
void execute_async_store(Warp& warp, const Instruction& instruction);

}  // namespace nvfp4::emulator
