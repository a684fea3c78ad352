// SPDX-License-Identifier: Apache-2.0
#include "runtime/nvfp4_gemm.h"

#include <fmt/format.h>

#include <stdexcept>

#include "generator/emit.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {
namespace {

Snapshot open_snapshot(const Gpu& gpu, const RuntimeOptions& options) {
  Warnings warnings;
  std::string path = options.database;
  if (path.empty()) {
    const DatabasePath found = default_database_path();
    path = found.path;
    if (path.empty()) warnings.push_back(found.reason);
  }
  Snapshot snapshot = load_snapshot(gpu.facts(), path, {}, warnings);
  for (const std::string& warning : warnings) {
    if (options.warn) options.warn(warning);
  }
  return snapshot;
}

void require(bool condition, std::string_view message) {
  if (!condition) throw std::invalid_argument(std::string(message));
}

}  // namespace

Gemm::Gemm(Gpu gpu, Problem problem, Policy policy, Selection selection,
           const Compilation& compilation)
    : gpu_(std::move(gpu)),
      problem_(problem),
      policy_(policy),
      selection_(selection),
      resources_(compilation.resources),
      kernel_(std::make_shared<Kernel>(gpu_, gpu_.emulated() ? compilation.ptx : compilation.cubin,
                                       smem_bytes(selection.config))) {}

int64_t Gemm::workspace_bytes(int64_t m) const {
  return launch_plan(selection_.config, problem_, m, gpu_.facts()).workspace_bytes;
}

void Gemm::init_workspace(CUdeviceptr workspace, int64_t m, CUstream stream) const {
  workspace_init(gpu_, workspace, launch_plan(selection_.config, problem_, m, gpu_.facts()),
                 stream);
}

void Gemm::launch(const GemmArguments& a, CUstream stream) const {
  if (a.m == 0) return;
  if (const auto error = tokens_error(a.m)) throw std::invalid_argument(*error);
  const int64_t lda = a.lda ? a.lda : problem_.k;
  const int64_t ldo = a.ldo ? a.ldo : problem_.n;
  const LaunchPlan plan = launch_plan(selection_.config, problem_, a.m, gpu_.facts());
  require(a.weights != 0 && a.weights % 16 == 0, "weights are null or not 16-byte aligned");
  require(a.activations != 0 && a.activations % 16 == 0,
          "activations are null or not 16-byte aligned");
  require(a.out != 0 && a.global_scales != 0, "out or global_scales is null");
  require(a.workspace != 0 || plan.workspace_bytes == 0,
          "workspace is null and the config needs one");
  if (lda < problem_.k || lda % 8 != 0) {
    throw std::invalid_argument(
        fmt::format("lda = {} is below K = {} or no multiple of 8", lda, problem_.k));
  }
  if (ldo < problem_.n)
    throw std::invalid_argument(fmt::format("ldo = {} is below N = {}", ldo, problem_.n));
  const auto pointer = [](CUdeviceptr address) { return reinterpret_cast<void*>(address); };
  const GemmParams params{.weights = pointer(a.weights),
                          .activations = pointer(a.activations),
                          .out = pointer(a.out),
                          .bias = pointer(a.bias),
                          .global_scales = static_cast<const float*>(pointer(a.global_scales)),
                          .workspace = pointer(a.workspace),
                          .lda = lda,
                          .ldo = ldo,
                          .m = static_cast<int>(a.m),
                          .tiles_m = plan.tiles_m,
                          .out_type = a.out_type,
                          .partials_offset = static_cast<unsigned>(plan.counter_bytes)};
  const bool pdl = policy_ == Policy::graph_pdl && selection_.config.pdl;
  kernel_->launch(params, plan, pdl ? Pdl::on : Pdl::off, stream);
}

Runtime::Runtime(const RuntimeOptions& options)
    : gpu_(open_device(options.device).gpu),
      policy_(options.policy),
      snapshot_(open_snapshot(gpu_, options)),
      compiler_(Compiler::open(gpu_.emulated() ? 0 : gpu_.driver().version())),
      cache_(std::make_unique<CubinCache>(cache_options_from_environment(options.warn))) {}

Problem Runtime::problem(int64_t n, int64_t k, Activation act, int64_t m) const {
  if (const auto error = shape_error(n, k)) throw std::invalid_argument(*error);
  if (const auto error = tokens_error(m)) throw std::invalid_argument(*error);
  return {.n = n, .k = k, .act = act, .arch = gpu_.facts().arch};
}

Selection Runtime::lookup(int64_t n, int64_t k, Activation act, int64_t m) const {
  return nvfp4::lookup(snapshot_, problem(n, k, act, m), m, policy_);
}

Gemm Runtime::prepare(int64_t n, int64_t k, Activation act, int64_t m) const {
  const Problem p = problem(n, k, act, m);
  const Selection selection = nvfp4::lookup(snapshot_, p, m, policy_);
  const std::string source = emit_source(selection.config, p);
  const Compilation compilation = cache_->get_or_compile(compiler_, source, p.arch);
  if (!compilation.ok) {
    throw CompilerError(fmt::format("the kernel does not compile: {}", compilation.log));
  }
  try {
    return Gemm(gpu_, p, policy_, selection, compilation);
  } catch (const CudaError& error) {
    if (error.is_sticky()) throw;
  }
  // The driver refuses what the cache kept: an invalid entry must never be a failure.
  cache_->set_aside(cache_key(compiler_, source, p.arch));
  return Gemm(gpu_, p, policy_, selection, cache_->get_or_compile(compiler_, source, p.arch));
}

}  // namespace nvfp4
