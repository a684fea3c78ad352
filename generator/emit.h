// SPDX-License-Identifier: Apache-2.0
// Turns a config and a shape into source text. No user text ever reaches it: only integers and
// enums.
#pragma once

#include <string>

#include "generator/problem.h"
#include "templates/kernel_config.h"

namespace nvfp4 {

/// Entry point of every emitted translation unit.
inline constexpr char kKernelName[] = "nvfp4_gemm";

/// Where a dense kernel stores: in `out`; or each part of a stack in an output of its own, for
/// which it takes OutputParts beside GemmParams. The kernel of a grouped problem takes Groups and
/// has one.
enum class Outputs { one, split };

/// The few lines that include the family's template, name the config and instantiate the kernel.
std::string emit_source(const KernelConfig& config, const Problem& problem,
                        Outputs outputs = Outputs::one);

/// The same as one self-contained file: the templates inlined, for nvcc or NVRTC alone.
std::string emit_standalone(const KernelConfig& config, const Problem& problem);

}  // namespace nvfp4
