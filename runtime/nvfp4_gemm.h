// SPDX-License-Identifier: Apache-2.0
// The library in C++: open a device, prepare the tuned kernels of a shape for a range of M, launch
// them. Preparing may read the disk, compile and block; launching does none of that and may be
// captured in a graph. The C interface (runtime/abi/) is this with statuses.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "generator/launch_plan.h"
#include "runtime/compiler.h"
#include "runtime/cubin_cache.h"
#include "runtime/gpu.h"
#include "runtime/kernel.h"
#include "runtime/lookup.h"

namespace nvfp4 {

struct RuntimeOptions {
  std::optional<std::string> database;  ///< the user's; default_database_path(); "": none.
  std::optional<std::string> cache;     ///< cache_options_from_environment(); "": memory only
  /// Told, one line each and from any thread, what could not be used; the product goes on without
  /// it.
  std::function<void(const std::string& message)> warn;
};

/// What kernels are asked for. `policy` says how launches will follow each other.
struct GemmRequest {
  int64_t n = 0;
  int64_t k = 0;
  Activation act = Activation::bf16;
  Policy policy = Policy::graph_pdl;
  int64_t experts = 0;  ///< matrices of a grouped launch; 0: one matrix, a dense product
};

/// A part's output: device address, row stride in elements (0: the part's rows).
struct GemmOutput {
  CUdeviceptr out = 0;
  int64_t ldo = 0;
};

/// The operands of one launch: device addresses, strides in elements.
struct GemmArguments {
  CUdeviceptr weights = 0;        ///< packed (runtime/pack.h), 16-byte aligned
  CUdeviceptr activations = 0;    ///< [m, K], rows 16-byte aligned
  CUdeviceptr out = 0;            ///< [m, N]; 0 for a GEMM with parts
  CUdeviceptr global_scales = 0;  ///< one FP32 per 64 rows of N
  CUdeviceptr bias = 0;           ///< [N] of the activation type, or 0
  CUdeviceptr workspace = 0;      ///< workspace_bytes(), initialised once; 0 if that is 0
  int64_t workspace_bytes = 0;
  int64_t m = 0;    ///< 0 is a no-op
  int64_t lda = 0;  ///< 0: K
  int64_t ldo = 0;  ///< 0: N
  OutputType out_type = OutputType::bf16;
  std::span<const GemmOutput> outputs;  ///< one a part, for a GEMM with parts
  CUdeviceptr expert_offsets = 0;       ///< [experts + 1] int32, for a grouped GEMM
};

/// Bytes of counters at the head of every workspace. One size for all kernels, so that GEMMs of any
/// shapes can share a workspace: the counters of one are never the partial sums of another.
constexpr int64_t kCounterBytes = 256 << 10;

/// Enqueues the clearing of a workspace's counters: once, and after any failed launch.
void init_workspace(const Gpu& gpu, CUdeviceptr workspace, int64_t bytes, CUstream stream);

/// The loaded kernels of one shape, each for a range of M, with the choices that led to them.
/// Immutable; copies share the kernels.
class Gemm {
 public:
  struct Range {
    int64_t m_hi = 0;  ///< serves M up to this, from where the range before it ends
    Selection selection;
    KernelResources resources;
    std::shared_ptr<const Kernel> kernel;
  };

  std::span<const Range> ranges() const { return ranges_; }
  int64_t max_m() const { return ranges_.back().m_hi; }

  /// What any launch needs; 0: no workspace.
  int64_t workspace_bytes() const { return workspace_bytes_; }

  /// Enqueues the product; the device's context must be current. Throws std::invalid_argument for
  /// operands that break the contract, naming the first, and CudaError for what the driver refuses.
  void launch(const GemmArguments& arguments, CUstream stream) const;

  const Gpu& gpu() const { return gpu_; }

 private:
  friend class Runtime;
  Gemm(Gpu gpu, const GemmRequest& request, std::shared_ptr<const Snapshot> snapshot,
       const OutputParts& parts, std::vector<Range> ranges);
  OutputParts placed(const GemmArguments& arguments) const;

  Gpu gpu_;
  Problem problem_;
  Policy policy_;
  std::shared_ptr<const Snapshot> snapshot_;  ///< selections look into it
  OutputParts parts_;                         ///< rows; count 0: one output
  std::vector<Range> ranges_;                 ///< ascending m_hi, never empty
  int64_t workspace_bytes_ = 0;
};

/// One device with its tuning databases, compiler and cubin cache. Thread-safe after construction;
/// the device's context must be current in the calling thread (ContextScope).
class Runtime {
 public:
  /// Throws CompilerError. Databases and caches that cannot be used are warnings, and the cost
  /// model answers.
  explicit Runtime(Gpu gpu, const RuntimeOptions& options = {});

  const Gpu& gpu() const { return gpu_; }

  /// Which config would run, and who says so. Throws std::invalid_argument for a bad shape. Views
  /// live as long as this Runtime.
  Selection lookup(const GemmRequest& request, int64_t m) const;

  /// Loads what launches of up to `m_hi` tokens need, at their best from `m_lo` on; compiles, in
  /// parallel, what the cache lacks. A kernel is loaded once, whoever asks for it at once. With
  /// `part_rows`, rows of a stack's parts (stack_rows() makes N), each part has an output of its
  /// own. Throws std::invalid_argument, CudaError, or CompilerError when a config does not compile.
  Gemm prepare(const GemmRequest& request, int64_t m_lo, int64_t m_hi,
               std::span<const int64_t> part_rows = {}) const;

  /// A kernel from source through the cache. Throws as prepare().
  Compilation compile(const std::string& source) const;

 private:
  /// A kernel while someone holds it. Its mutex is held while one thread loads it, so that others
  /// wait for that one.
  struct Loaded {
    std::mutex mutex;
    std::weak_ptr<const Kernel> kernel;
    KernelResources resources;
  };
  struct LoadedKernels {
    std::mutex mutex;
    std::map<std::string, std::shared_ptr<Loaded>> by_source;
  };

  std::shared_ptr<const Kernel> load(const std::string& source, const KernelConfig& config,
                                     KernelResources& resources) const;
  std::shared_ptr<const Kernel> load_now(const std::string& source, const KernelConfig& config,
                                         KernelResources& resources) const;

  Gpu gpu_;
  std::shared_ptr<const Snapshot> snapshot_;
  Compiler compiler_;
  std::unique_ptr<CubinCache> cache_;
  std::unique_ptr<LoadedKernels> loaded_;
};

}  // namespace nvfp4
