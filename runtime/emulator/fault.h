// SPDX-License-Identifier: Apache-2.0
// How an instruction ends a launch: it throws a Violation; the block that runs it adds the place.
#pragma once

#include <string>

#include "runtime/emulator/machine.h"

namespace nvfp4::emulator {

struct Violation {
  FaultKind kind;
  int lane;  ///< of the warp that runs
  std::string text;
};

/// The lowest lane of a non-empty mask.
inline int first_lane(uint32_t mask) { return __builtin_ctz(mask); }

}  // namespace nvfp4::emulator
