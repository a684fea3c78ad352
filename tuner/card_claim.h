// SPDX-License-Identifier: Apache-2.0
// A card for one run of the tuner: its lock is held, and nobody else computes on it. What disturbs
// measurements is refused before the first of them, or, when the user insists, said in every row.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tuner/gpu_lock.h"
#include "tuner/measure.h"
#include "tuner/nvml.h"

namespace nvfp4 {

/// A card that cannot be measured on: held by another tuner, shared, or no longer sane. What has
/// been measured is kept. Exit code 3.
class CardError : public MeasureError {
 public:
  using MeasureError::MeasureError;
};

struct ClaimOptions {
  bool wait = true;                             ///< for another tuner to finish
  bool shared = false;                          ///< measure in company all the same
  std::function<void(const std::string&)> say;  ///< one line for the user
  std::function<bool()> stopped;                ///< true once the user wants to stop
};

class CardClaim {
 public:
  /// Waits for its turn. An emulated device is nobody's and needs no claim (see Card). Throws
  /// CardError.
  CardClaim(const Gpu& gpu, const ClaimOptions& options);

  /// Why the card's times may be disturbed; empty on a card of one's own.
  const std::string& disturbance() const { return disturbance_; }

 private:
  void take_turn(const std::string& name, const ClaimOptions& options);

  std::optional<GpuLock> lock_;
  std::string disturbance_;
};

/// What about `use` would disturb measurements of the process `own`, or empty. Inside a container
/// the numbers may be those of another namespace: then only their count tells.
std::string disturbance_of(const CardUse& use, int own);

}  // namespace nvfp4
