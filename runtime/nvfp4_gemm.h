// SPDX-License-Identifier: Apache-2.0
// The library in C++: open a device, prepare the tuned kernel of a shape, launch it. Preparing may
// read the disk, compile and block; launching does none of that and may be captured in a graph.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "generator/launch_plan.h"
#include "runtime/compiler.h"
#include "runtime/cubin_cache.h"
#include "runtime/gpu.h"
#include "runtime/kernel.h"
#include "runtime/lookup.h"

namespace nvfp4 {

struct RuntimeOptions {
  std::string device = "0";           ///< an ordinal, "auto", or "emulated:NAME"
  std::string database;               ///< the user's; empty: default_database_path()
  Policy policy = Policy::graph_pdl;  ///< how launches will follow each other
  /// Told, one line each and from any thread, what could not be used; the product goes on without
  /// it.
  std::function<void(const std::string& message)> warn;
};

/// The operands of one launch: device addresses, strides in elements.
struct GemmArguments {
  CUdeviceptr weights = 0;        ///< packed (runtime/pack.h), 16-byte aligned
  CUdeviceptr activations = 0;    ///< [m, K], rows 16-byte aligned
  CUdeviceptr out = 0;            ///< [m, N]
  CUdeviceptr global_scales = 0;  ///< one FP32 per 64 rows of N
  CUdeviceptr bias = 0;           ///< [N] of the activation type, or 0
  CUdeviceptr workspace = 0;      ///< workspace_bytes(m), initialised once; 0 if that is 0
  int64_t m = 0;                  ///< 0 is a no-op
  int64_t lda = 0;                ///< 0: K
  int64_t ldo = 0;                ///< 0: N
  OutputType out_type = OutputType::bf16;
};

/// A loaded kernel of one shape, with the choice that led to it. It runs any m, at its best near
/// the one it was prepared for.
class Gemm {
 public:
  const Selection& selection() const { return selection_; }
  const KernelResources& resources() const { return resources_; }
  int64_t workspace_bytes(int64_t m) const;

  /// Clears the counters of a workspace for launches up to `m` tokens: once, and after any failure.
  void init_workspace(CUdeviceptr workspace, int64_t m, CUstream stream) const;

  /// Enqueues the product. Throws std::invalid_argument for operands that break the contract,
  /// naming the first, and CudaError for what the driver refuses.
  void launch(const GemmArguments& arguments, CUstream stream) const;

 private:
  friend class Runtime;
  Gemm(Gpu gpu, Problem problem, Policy policy, Selection selection,
       const Compilation& compilation);

  Gpu gpu_;
  Problem problem_;
  Policy policy_;
  Selection selection_;
  KernelResources resources_;
  std::shared_ptr<const Kernel> kernel_;
};

/// One device with its tuning databases, compiler and cubin cache. Thread-safe after construction.
class Runtime {
 public:
  /// Throws UnknownDevice, DriverError, CudaError or CompilerError. Databases and caches that
  /// cannot be used are warnings, and the cost model answers.
  explicit Runtime(const RuntimeOptions& options = {});

  const Gpu& gpu() const { return gpu_; }

  /// Which config would run, and who says so. Throws std::invalid_argument for a bad shape.
  Selection lookup(int64_t n, int64_t k, Activation act, int64_t m) const;

  /// Looks up, compiles or finds the cubin, loads. Throws CompilerError when the config does not
  /// compile.
  Gemm prepare(int64_t n, int64_t k, Activation act, int64_t m) const;

 private:
  Problem problem(int64_t n, int64_t k, Activation act, int64_t m) const;

  Gpu gpu_;
  Policy policy_;
  Snapshot snapshot_;
  Compiler compiler_;
  std::unique_ptr<CubinCache> cache_;
};

}  // namespace nvfp4
