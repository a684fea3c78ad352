// SPDX-License-Identifier: Apache-2.0
// Which configs are worth trying for a problem on a device.
#pragma once

#include <llvm/ADT/SmallVector.h>

#include <cstdint>

#include "generator/device.h"
#include "generator/problem.h"
#include "templates/kernel_config.h"

namespace nvfp4 {

/// Every legal config worth trying for (problem, m), best prediction first; never empty.
llvm::SmallVector<KernelConfig, 0> candidates(const Problem& problem, int64_t m,
                                              const Device& device);

/// What runs when nothing is known: the first of candidates(). PDL is off unless asked for.
KernelConfig default_config(const Problem& problem, int64_t m, const Device& device);

}  // namespace nvfp4
