// SPDX-License-Identifier: Apache-2.0
// Why a config may not be generated for a device or a problem.
#pragma once

#include <optional>
#include <string>

#include "generator/device.h"
#include "generator/problem.h"
#include "templates/kernel_config.h"

namespace nvfp4 {

constexpr int kMaxStages = 8;  ///< of the mma family
constexpr int kMaxWgmmaStages = 16;

/// Empty when the config may be generated; else one line that names the thing and both numbers.
std::optional<std::string> illegal_reason(const KernelConfig& config, const Device& device);

/// The same for a problem: a grouped one has the kernels of the mma family that share no tile.
std::optional<std::string> illegal_reason(const KernelConfig& config, const Problem& problem,
                                          const Device& device);

}  // namespace nvfp4
