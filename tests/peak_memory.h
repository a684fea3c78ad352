// SPDX-License-Identifier: Apache-2.0
// How much memory a call took at its worst: the kernel's high-water mark of resident pages, reset
// before the call, so that what a test allocated and freed earlier hides nothing.
#pragma once

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>

namespace nvfp4 {

class PeakMemory {
 public:
  PeakMemory() {
    std::ofstream("/proc/self/clear_refs") << 5;
    before_ = high_water();
  }
  /// Bytes beyond what was resident at construction.
  int64_t extra() const { return high_water() - before_; }

 private:
  static int64_t high_water() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
    }
    throw std::runtime_error("no VmHWM in /proc/self/status");
  }

  int64_t before_ = 0;
};

}  // namespace nvfp4
