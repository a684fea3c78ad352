// SPDX-License-Identifier: Apache-2.0
// Is the card still sane after a kernel that took its process down? A kernel with a known answer
// runs, and the memory that the dead process held is free again.
#pragma once

#include "runtime/gpu.h"
#include "tuner/jobs.h"

namespace nvfp4 {

/// Runs the kernel of read_stream.cuh in `image` on data that must, and then must not, make it
/// write; waits up to five seconds for `free_bytes` to be free again. What goes wrong is part of
/// the result. An empty image: only says how much is free.
CanaryResult run_canary(const Gpu& gpu, const CanaryJob& job);

}  // namespace nvfp4
