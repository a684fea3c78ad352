// SPDX-License-Identifier: Apache-2.0
// A sample of the whole space of configs, to find out what a search has missed. Pure: the same
// space, count and seed give the same sample.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "templates/kernel_config.h"

namespace nvfp4 {

/// At most `count` configs of `space`, without order of preference: kinds (family, schedule, tile
/// of rows and of tokens) take turns, and each gives its members in a seeded order. So a kind that
/// the cost model despises is as present as one that it loves.
std::vector<KernelConfig> stratified_sample(std::span<const KernelConfig> space, size_t count,
                                            uint64_t seed);

}  // namespace nvfp4
