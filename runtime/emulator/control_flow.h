// SPDX-License-Identifier: Apache-2.0
// Where diverged lanes meet again.
#pragma once

#include <vector>

#include "runtime/emulator/program.h"

namespace nvfp4::emulator {

/// Sets Instruction::reconverge of every branch: the first instruction of its immediate
/// post-dominator, or kNoTarget when the paths meet only at the end of the kernel.
void find_reconvergence(Function& function);

/// Successors of each instruction's basic block and the block boundaries.
struct BasicBlock {
  int begin;
  int end;
  std::vector<int> successors;  ///< numbers of blocks; empty when the kernel ends here
};
std::vector<BasicBlock> basic_blocks(const Function& function);

}  // namespace nvfp4::emulator
