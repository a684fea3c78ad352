// SPDX-License-Identifier: Apache-2.0
// What programmatic launches do to the balance of SMs. The CTAs of the next kernels of a chain
// settle wherever this one's leave room, not where SMs are idle: where an SM holds just the CTAs
// that its share of the grid asks for, every slot is taken by one that is due; where it holds more,
// some SMs get several of one kernel and others none, and the chain waits for the former.
#pragma once

#include <cmath>

#include "generator/device.h"

namespace nvfp4 {

// Fitted with the cost models: CTAs that find twice the room they need take 1.47 times as long,
// three times the room 1.8 times (H100: 5.3, 7.4 and 9.5 us at 4096 x 4096, M = 1, where an SM that
// needs two CTAs holds two, four and five).
constexpr double kCrowding = 0.47;
constexpr double kCrowdPower = 0.73;

/// The factor by which crowding slows `ctas` down of which an SM holds `resident`.
inline double crowding(double ctas, double resident, const Device& device) {
  const double room = resident / std::ceil(ctas / device.sm_count);
  if (room <= 1) return 1;
  return 1 + kCrowding * std::pow(room - 1, kCrowdPower);
}

}  // namespace nvfp4
