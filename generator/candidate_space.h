// SPDX-License-Identifier: Apache-2.0
// Which configs exist for a problem on a device, and why a config is not one of them.
#pragma once

#include <llvm/ADT/SmallVector.h>

#include <cstdint>
#include <optional>
#include <string>

#include "generator/device.h"
#include "generator/problem.h"
#include "templates/kernel_config.h"

namespace nvfp4 {

/// Empty when the config may be generated; else one line that names the thing and both numbers.
std::optional<std::string> illegal_reason(const KernelConfig& config, const Device& device);

/// The same for a problem: a grouped one has the kernels of the mma family that share no tile.
std::optional<std::string> illegal_reason(const KernelConfig& config, const Problem& problem,
                                          const Device& device);

/// Every legal config worth trying for (problem, m), best prediction first; never empty.
llvm::SmallVector<KernelConfig, 0> candidates(const Problem& problem, int64_t m,
                                              const Device& device);

/// What runs when nothing is known: the first of candidates(). PDL is off unless asked for.
KernelConfig default_config(const Problem& problem, int64_t m, const Device& device);

}  // namespace nvfp4
