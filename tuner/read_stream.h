// SPDX-License-Identifier: Apache-2.0
// Launches the streaming-read kernel of templates/read_stream.cuh.
#pragma once

#include <cstdint>

#include "runtime/gpu.h"

namespace nvfp4 {

/// Reads `bytes` (a multiple of 16) at `source` once, with the whole card.
void read_stream(const Gpu& gpu, CUfunction function, CUdeviceptr source, int64_t bytes,
                 CUdeviceptr sink, CUstream stream);

}  // namespace nvfp4
