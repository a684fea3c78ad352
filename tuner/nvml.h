// SPDX-License-Identifier: Apache-2.0
// What a card says about itself beside CUDA: clock, heat, power, and who else uses it, from NVML,
// which is found at run time. A missing or unwilling NVML means "unknown", never an error: it is
// evidence, not input.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/gpu.h"

namespace nvfp4 {

/// One look at a card that works. Zero is unknown.
struct CardReading {
  double sm_mhz = 0;
  double temperature_c = 0;
  double power_w = 0;
  bool throttled = false;     ///< something held the clock down
  bool power_capped = false;  ///< ... and it was the power limit alone
  std::string reasons;        ///< "power cap, heat"; empty unless throttled
};

/// Who computes on a card.
struct CardUse {
  bool mig = false;            ///< the card is divided
  std::vector<int> processes;  ///< with a compute context, this one's included
  std::vector<int> mps;        ///< clients of the multi-process service
};

class Card {
 public:
  /// Looks at nothing for an emulated device, unless NVFP4_NVML names a library to ask all the
  /// same.
  explicit Card(const Gpu& gpu);
  ~Card();
  Card(const Card&) = delete;
  Card& operator=(const Card&) = delete;

  bool known() const;

  /// "GPU-01234567-89ab-...": the physical card, also behind a MIG slice.
  const std::string& uuid() const { return uuid_; }

  CardReading read() const;
  CardUse use() const;

 private:
  struct Nvml;
  std::unique_ptr<Nvml> nvml_;
  std::string uuid_;
};

}  // namespace nvfp4
