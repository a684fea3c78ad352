// SPDX-License-Identifier: Apache-2.0
// The one instruction of the wgmma family whose text depends on the config: wgmma.mma_async names every
// accumulator register, block_m / 2 of them.
#pragma once

#include <string>

#include "templates/kernel_config.h"

namespace nvfp4 {

/// A struct `WgmmaTile` with one static function,
/// `multiply(float (&sums)[block_m / 2], const u32 (&a)[4], u64 descriptor)`.
std::string emit_wgmma_tile(const KernelConfig& config);

}  // namespace nvfp4
