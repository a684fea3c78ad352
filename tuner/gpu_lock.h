// SPDX-License-Identifier: Apache-2.0
// One tuner at a time measures on one card: two would each see half of the memory's bandwidth. The
// lock is advisory, by card, and held only while something is timed.
#pragma once

#include "runtime/gpu.h"

namespace nvfp4 {

class GpuLock {
 public:
  /// Waits for its turn. Emulated devices need none; where no lock file can be made, there is none.
  explicit GpuLock(const Gpu& gpu);
  ~GpuLock();
  GpuLock(const GpuLock&) = delete;
  GpuLock& operator=(const GpuLock&) = delete;

 private:
  int file_ = -1;
};

}  // namespace nvfp4
