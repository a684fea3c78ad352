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

/// What a kernel takes beside GemmParams: nothing; OutputParts, and stores each part of a stack in
/// an output of its own; or Groups, for one launch over many experts (mma and data-parallel only).
enum class KernelForm { dense, split_outputs, grouped };

/// The few lines that include the family's template, name the config and instantiate the kernel.
std::string emit_source(const KernelConfig& config, const Problem& problem,
                        KernelForm form = KernelForm::dense);

/// The same as one self-contained file: the templates inlined, for nvcc or NVRTC alone.
std::string emit_standalone(const KernelConfig& config, const Problem& problem);

}  // namespace nvfp4
