// SPDX-License-Identifier: Apache-2.0
// Predicts the time of a config on a device without running it. It orders candidates, chooses the
// default config of an untuned problem, and is the clock of the emulated device.
#pragma once

#include <cstdint>
#include <string_view>

#include "generator/device.h"
#include "generator/problem.h"
#include "templates/kernel_config.h"

namespace nvfp4 {

struct CostEstimate {
  double seconds = 0;
  std::string_view
      bound;  ///< the term that dominates: "memory" (or L2), "issue", "tensor", "latency"
};

CostEstimate estimate(const KernelConfig& config, const Problem& problem, int64_t m,
                      const Device& device);

/// The roofline time: max(weights / memory bandwidth, flops / tensor rate), with the device's
/// peaks.
double roofline_seconds(const Problem& problem, int64_t m, const Device& device);

}  // namespace nvfp4
