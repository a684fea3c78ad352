// SPDX-License-Identifier: Apache-2.0
// The cost model of the wgmma family; estimate() calls it.
#pragma once

#include "generator/cost_model.h"

namespace nvfp4 {

CostEstimate estimate_wgmma(const KernelConfig& config, const Problem& problem, int64_t m,
                            const Device& device);

}  // namespace nvfp4
