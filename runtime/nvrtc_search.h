// SPDX-License-Identifier: Apache-2.0
// Where an NVRTC library may lie on this machine. The product links none, so that one binary runs
// beside whatever CUDA a serving environment brought with it.
#pragma once

#include <string>
#include <vector>

namespace nvfp4 {

/// What to hand to dlopen, best first: files that exist, as absolute paths, and bare names for the
/// loader's own path. If NVFP4_NVRTC is set it is the only entry, whether it exists or not.
std::vector<std::string> nvrtc_libraries();

}  // namespace nvfp4
