// SPDX-License-Identifier: Apache-2.0
// How many CTAs of a config fit an SM, before anything is compiled.
#pragma once

#include "generator/device.h"
#include "templates/kernel_config.h"

namespace nvfp4 {

/// Registers a thread is expected to need: accumulators, activation fragments and what the main
/// loop keeps besides. An estimate for pruning; the compiler's own figure decides.
int estimated_registers(const KernelConfig& config);

/// CTAs of the config that one SM holds, by shared memory, threads, registers and slots; 0 if none
/// fits.
int resident_ctas(const KernelConfig& config, const Device& device);

}  // namespace nvfp4
