// SPDX-License-Identifier: Apache-2.0
// What the card's clock does while something is timed, from NVML. A missing or unwilling NVML means
// "unknown", never an error: it is evidence, not input.
#pragma once

#include <memory>

#include "runtime/gpu.h"

namespace nvfp4 {

struct ClockReading {
  double sm_mhz = 0;       ///< 0 = unknown
  bool throttled = false;  ///< power, heat or a brake held the clock down
};

class GpuClock {
 public:
  explicit GpuClock(const Gpu& gpu);
  ~GpuClock();
  GpuClock(const GpuClock&) = delete;
  GpuClock& operator=(const GpuClock&) = delete;

  ClockReading read() const;

 private:
  struct Nvml;
  std::unique_ptr<Nvml> nvml_;
};

}  // namespace nvfp4
