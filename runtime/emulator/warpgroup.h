// SPDX-License-Identifier: Apache-2.0
// Where the four warps of a warpgroup meet: wgmma.mma_async is one instruction of all of them, and
// runs when the last has come.
#pragma once

#include <cstdint>

#include "runtime/emulator/program.h"

namespace nvfp4::emulator {

struct Warpgroup {
  static constexpr int kWarps = 4;

  const Instruction* instruction = nullptr;  ///< that those who have come execute
  int arrived = 0;
  uint64_t descriptors[2] = {};  ///< of A, if it has one, and B
  bool accumulates = false;      ///< scale-d

  void reset() { *this = {}; }
};

}  // namespace nvfp4::emulator
