// SPDX-License-Identifier: Apache-2.0
// Bookkeeping of commit groups; landing is in the header, inlined into the instruction.
#include "runtime/emulator/async_copies.h"

namespace nvfp4::emulator {

void AsyncCopies::reset() {
  copies_.clear();
  open_.fill(0);
}

AsyncCopy& AsyncCopies::issue(uint32_t lanes) {
  AsyncCopy& copy = copies_.emplace_back();
  copy.lanes = lanes;
  copy.group = open_;
  return copy;
}

void AsyncCopies::commit(uint32_t lanes) {
  for (int lane = 0; lane < 32; ++lane) open_[lane] += lanes >> lane & 1;
}

}  // namespace nvfp4::emulator
