// SPDX-License-Identifier: Apache-2.0
// A loaded GEMM kernel: module, entry point, resource facts, and the one way it is launched, the
// same in the tuner and in the library. A launch allocates nothing, waits for nothing and may be
// captured.
#pragma once

#include <string_view>

#include "generator/launch_plan.h"
#include "runtime/cuda.h"
#include "templates/gemm_params.h"

namespace nvfp4 {

/// Whether a launch may start before its predecessor on the stream has finished (programmatic
/// dependent launch). The kernel's weights must then be complete before the predecessor started.
enum class Pdl { off, on };

class Kernel {
 public:
  /// Loads a cubin (real GPU) or PTX and allows `smem_bytes` of dynamic shared memory
  /// (LaunchPlan's). Throws CudaError when the image does not load or the device has less shared
  /// memory.
  Kernel(const Gpu& gpu, std::string_view image, int smem_bytes);

  int registers() const { return registers_; }      ///< a thread's; 0 = unknown (emulated device)
  int local_bytes() const { return local_bytes_; }  ///< stack and spills of a thread

  /// CTAs of `threads` that fit on one SM at once.
  int resident_ctas(int threads) const;

  /// Enqueues the kernel; a plan with an empty grid does nothing. `extra`: the OutputParts
  /// or Groups of a kernel that was emitted with them. Throws CudaError.
  void launch(const GemmParams& params, const LaunchPlan& plan, Pdl pdl, CUstream stream,
              const void* extra = nullptr) const;

  /// The same without an exception.
  CUresult try_launch(const GemmParams& params, const LaunchPlan& plan, Pdl pdl, CUstream stream,
                      const void* extra = nullptr) const noexcept;

 private:
  Gpu gpu_;
  Module module_;
  CUfunction function_ = nullptr;
  int smem_bytes_ = 0;
  int registers_ = 0;
  int local_bytes_ = 0;
};

/// Clears the counters at the head of a workspace of plan.workspace_bytes, once before its first
/// launch and again after any failed one. Kernels leave the counters at zero; partials need no
/// clearing.
void workspace_init(const Gpu& gpu, CUdeviceptr workspace, const LaunchPlan& plan, CUstream stream);

}  // namespace nvfp4
