// SPDX-License-Identifier: Apache-2.0
#include "runtime/emulator/bulk_reads.h"

#include <fmt/format.h>

#include "runtime/emulator/block.h"

namespace nvfp4::emulator {

void BulkReads::wait(Warp& warp, uint32_t lanes, uint32_t pending) {
  std::erase_if(reads_, [&](const Read& read) {
    const bool named = (lanes >> read.lane & 1) != 0;
    if (!named || read.group + pending >= open_[read.lane]) return false;
    warp.block().shadow().end_bulk_read(warp.agent(), read.lane, read.offset, read.bytes);
    return true;
  });
}

void BulkReads::check_done(Warp& warp) const {
  for (const Read& read : reads_) {
    if ((warp.mask() >> read.lane & 1) == 0) continue;
    warp.fail(FaultKind::async_read_before_wait, read.lane,
              fmt::format("the thread ends before it has waited for its bulk copy of {} bytes from "
                          "shared+{:#x}",
                          read.bytes, read.offset));
  }
}

}  // namespace nvfp4::emulator
