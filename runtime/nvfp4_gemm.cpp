// SPDX-License-Identifier: Apache-2.0
#include "runtime/nvfp4_gemm.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <thread>

#include "generator/emit.h"
#include "runtime/code_hash.h"
#include "runtime/installed_files.h"
#include "runtime/parallel.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {
namespace {

Snapshot open_snapshot(const Gpu& gpu, const RuntimeOptions& options) {
  Warnings warnings;
  std::string path = options.database.value_or("");
  if (!options.database) {
    const DatabasePath found = default_database_path();
    path = found.path;
    if (path.empty()) warnings.push_back(found.reason);
  }
  Snapshot snapshot = load_snapshot(gpu.facts(), path, shipped_databases(), warnings);
  for (const std::string& warning : warnings) {
    if (options.warn) options.warn(warning);
  }
  return snapshot;
}

CacheOptions cache_options(const RuntimeOptions& options) {
  if (!options.cache) return cache_options_from_environment(options.warn);
  return {.directory = *options.cache, .warn = options.warn};
}

Problem problem_of(const GemmRequest& request, const Gpu& gpu) {
  if (const auto error = shape_error(request.n, request.k)) throw std::invalid_argument(*error);
  if (request.experts < 0 || request.experts > kMaxExperts) {
    throw std::invalid_argument(
        fmt::format("{} experts: 0 (a dense product) to {}", request.experts, kMaxExperts));
  }
  return {.kind = request.experts > 0 ? ProblemKind::grouped : ProblemKind::dense,
          .n = request.n,
          .k = request.k,
          .act = request.act,
          .arch = gpu.facts().arch,
          .experts = request.experts};
}

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

void check_output(std::string_view name, CUdeviceptr out, int64_t ldo, int64_t rows,
                  OutputType type) {
  if (out == 0 || out % (type == OutputType::fp32 ? 4 : 2) != 0) {
    throw std::invalid_argument(fmt::format("{} is null or not aligned to its elements", name));
  }
  if (ldo < rows || ldo > kMaxStride) {
    throw std::invalid_argument(fmt::format("{}: ldo = {} is below its {} columns or above {}",
                                            name, ldo, rows, kMaxStride));
  }
}

OutputParts parts_of(std::span<const int64_t> part_rows, const Problem& problem) {
  OutputParts parts{};
  if (part_rows.empty()) return parts;
  if (const int64_t rows = stack_rows(part_rows, problem.k); rows != problem.n) {
    throw std::invalid_argument(fmt::format("the parts make {} rows, N is {}", rows, problem.n));
  }
  int64_t first = 0;
  for (const int64_t rows : part_rows) {
    parts.first_row[parts.count] = static_cast<int>(first);
    parts.rows[parts.count++] = static_cast<int>(rows);
    first += padded_rows(rows);
  }
  return parts;
}

// Ends of the ranges that are asked for one by one: where rows of the database begin and end to
// answer, and powers of two for the cost model.
std::vector<int64_t> range_ends(const Snapshot& snapshot, const Problem& problem, int64_t m_lo,
                                int64_t m_hi) {
  std::vector<int64_t> ends = snapshot.edges(problem);
  for (int64_t m = 8; m < m_hi; m *= 2) ends.push_back(m);
  ends.push_back(m_hi);
  std::erase_if(ends, [&](int64_t m) { return m < m_lo || m > m_hi; });
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  return ends;
}

// The schedule without a workspace, where the counters of that many tiles have no room.
KernelConfig within_counters(KernelConfig config, const Problem& problem, int64_t m,
                             const Device& device) {
  if (launch_plan(config, problem, m, device).counter_bytes <= kCounterBytes) return config;
  config.schedule = Schedule::data_parallel;
  config.split_k = 1;
  return config;
}

int64_t workspace_need(const KernelConfig& config, const Problem& problem, int64_t m,
                       const Device& device) {
  const LaunchPlan plan = launch_plan(config, problem, m, device);
  return plan.workspace_bytes == 0 ? 0 : kCounterBytes + plan.workspace_bytes - plan.counter_bytes;
}

}  // namespace

void init_workspace(const Gpu& gpu, CUdeviceptr workspace, int64_t bytes, CUstream stream) {
  if (bytes == 0) return;
  gpu.check(gpu.driver().memset_d8_async(
                workspace, 0, static_cast<size_t>(std::min(bytes, kCounterBytes)), stream),
            "cuMemsetD8Async");
}

Gemm::Gemm(Gpu gpu, const GemmRequest& request, std::shared_ptr<const Snapshot> snapshot,
           const OutputParts& parts, std::vector<Range> ranges)
    : gpu_(std::move(gpu)),
      problem_(problem_of(request, gpu_)),
      policy_(request.policy),
      snapshot_(std::move(snapshot)),
      parts_(parts),
      ranges_(std::move(ranges)) {
  // Within a range partial sums grow with M, or stay.
  for (const Range& range : ranges_) {
    workspace_bytes_ = std::max(workspace_bytes_, workspace_need(range.selection.config, problem_,
                                                                 range.m_hi, gpu_.facts()));
  }
}

void Gemm::launch(const GemmArguments& a, CUstream stream) const {
  if (a.m == 0) return;
  if (a.m < 0 || a.m > max_m()) {
    throw std::invalid_argument(
        fmt::format("M = {} is outside what was prepared, 0 to {}", a.m, max_m()));
  }
  const int64_t lda = a.lda ? a.lda : problem_.k;
  const int64_t ldo = a.ldo ? a.ldo : problem_.n;
  require(a.weights != 0 && a.weights % 16 == 0, "weights are null or not 16-byte aligned");
  require(a.activations != 0 && a.activations % 16 == 0,
          "activations are null or not 16-byte aligned");
  if (parts_.count == 0) {
    check_output("out", a.out, ldo, problem_.n, a.out_type);
    require(a.outputs.empty(), "outputs are given, but no parts were prepared");
  }
  require(a.global_scales != 0 && a.global_scales % 4 == 0,
          "global_scales is null or not 4-byte aligned");
  const bool grouped = problem_.kind == ProblemKind::grouped;
  require((a.expert_offsets != 0) == grouped && a.expert_offsets % 4 == 0,
          "expert_offsets are missing, not asked for or not 4-byte aligned");
  require(a.bias % 2 == 0, "bias is not aligned to its elements");
  if (lda < problem_.k || lda % 8 != 0 || lda > kMaxStride) {
    throw std::invalid_argument(fmt::format(
        "lda = {} is below K = {}, no multiple of 8 or above {}", lda, problem_.k, kMaxStride));
  }
  const auto range =
      std::find_if(ranges_.begin(), ranges_.end(), [&](const Range& r) { return a.m <= r.m_hi; });
  const KernelConfig& config = range->selection.config;
  const LaunchPlan plan = launch_plan(config, problem_, a.m, gpu_.facts());
  if (plan.workspace_bytes > 0) {
    require(a.workspace != 0 && a.workspace % 256 == 0,
            "workspace is null or not 256-byte aligned, and the kernel needs one");
    if (a.workspace_bytes < workspace_bytes_) {
      throw std::invalid_argument(fmt::format("the workspace has {} bytes, {} are needed",
                                              a.workspace_bytes, workspace_bytes_));
    }
  }
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
                          .partials_offset = static_cast<unsigned>(kCounterBytes)};
  const bool pdl = policy_ == Policy::graph_pdl && config.pdl;
  const Pdl launch_pdl = pdl ? Pdl::on : Pdl::off;
  if (grouped) {
    const Groups groups{reinterpret_cast<const int*>(a.expert_offsets),
                        static_cast<int>(problem_.experts)};
    range->kernel->launch(params, plan, launch_pdl, stream, &groups);
  } else if (parts_.count > 0) {
    const OutputParts parts = placed(a);
    range->kernel->launch(params, plan, launch_pdl, stream, &parts);
  } else {
    range->kernel->launch(params, plan, launch_pdl, stream);
  }
}

OutputParts Gemm::placed(const GemmArguments& a) const {
  if (a.outputs.size() != static_cast<size_t>(parts_.count)) {
    throw std::invalid_argument(
        fmt::format("{} outputs for {} parts", a.outputs.size(), parts_.count));
  }
  OutputParts parts = parts_;
  for (int i = 0; i < parts.count; ++i) {
    const GemmOutput& output = a.outputs[i];
    parts.ldo[i] = output.ldo ? output.ldo : parts.rows[i];
    parts.out[i] = reinterpret_cast<void*>(output.out);
    check_output(fmt::format("outputs[{}]", i), output.out, parts.ldo[i], parts.rows[i],
                 a.out_type);
  }
  return parts;
}

Runtime::Runtime(Gpu gpu, const RuntimeOptions& options)
    : gpu_(std::move(gpu)),
      snapshot_(std::make_shared<const Snapshot>(open_snapshot(gpu_, options))),
      compiler_(Compiler::open(gpu_.emulated() ? 0 : gpu_.driver().version())),
      cache_(std::make_unique<CubinCache>(cache_options(options))),
      loaded_(std::make_unique<LoadedKernels>()),
      warn_(options.warn) {}

Selection Runtime::lookup(const GemmRequest& request, int64_t m) const {
  const Problem problem = problem_of(request, gpu_);
  if (const auto error = tokens_error(m)) throw std::invalid_argument(*error);
  return nvfp4::lookup(*snapshot_, problem, m, request.policy);
}

Compilation Runtime::compile(const std::string& source) const {
  Compilation compilation = cache_->get_or_compile(compiler_, source, gpu_.facts().arch);
  if (!compilation.ok) {
    throw CompilerError(fmt::format("the kernel does not compile: {}", compilation.log));
  }
  return compilation;
}

void Runtime::load(const std::string& source, Gemm::Range& range) const {
  std::shared_ptr<Loaded> entry;
  {
    const std::lock_guard lock(loaded_->mutex);
    std::shared_ptr<Loaded>& found = loaded_->by_source[source];
    if (!found) {
      found = std::make_shared<Loaded>();
      // Forgets kernels that nobody holds any more. Entries are only handed out under this lock, so
      // one that the table alone has stays so; its mutex orders what its last user wrote.
      std::erase_if(loaded_->by_source, [&](const auto& other) {
        if (other.second == found || other.second.use_count() > 1) return false;
        const std::lock_guard last_user(other.second->mutex);
        return other.second->kernel.expired();
      });
    }
    entry = found;
  }
  const std::lock_guard lock(entry->mutex);
  range.kernel = entry->kernel.lock();
  if (range.kernel) {
    range.resources = entry->resources;
    range.code_hash = entry->code_hash;
    return;
  }
  load_now(source, range);
  entry->kernel = range.kernel;
  entry->resources = range.resources;
  entry->code_hash = range.code_hash;
}

void Runtime::load_now(const std::string& source, Gemm::Range& range) const {
  const auto attempt = [&] {
    const ContextScope scope(gpu_);
    const Compilation compilation = compile(source);
    range.resources = compilation.resources;
    range.code_hash = code_hash(compilation.cubin).value_or("");
    range.kernel =
        std::make_shared<const Kernel>(gpu_, gpu_.emulated() ? compilation.ptx : compilation.cubin,
                                       smem_bytes(range.selection.config));
  };
  try {
    return attempt();
  } catch (const CudaError& error) {
    if (error.is_sticky() || error.code() == CUDA_ERROR_OUT_OF_MEMORY) throw;
  }
  // The driver refuses what the cache kept: an invalid entry must never be a failure.
  cache_->set_aside(cache_key(compiler_, source, gpu_.facts().arch));
  attempt();
}

// Another compiler may make other machine code of a config: it is right, but nobody has timed it.
void Runtime::compare_code(const Problem& problem, const Gemm::Range& range) const {
  const std::string_view measured = range.selection.code_hash;
  if (measured.empty() || range.code_hash.empty() || measured == range.code_hash || !warn_) return;
  {
    const std::lock_guard lock(loaded_->mutex);
    if (!loaded_->reported.insert(range.code_hash).second) return;
  }
  warn_(
      fmt::format("N = {}, K = {}, M = {}: the kernel was measured as machine code {:.12}, NVRTC "
                  "{} makes {:.12} of it; its time may differ until it is tuned again",
                  problem.n, problem.k, range.selection.m_tuned, measured, compiler_.version(),
                  range.code_hash));
}

Gemm Runtime::prepare(const GemmRequest& request, int64_t m_lo, int64_t m_hi,
                      std::span<const int64_t> part_rows) const {
  const Problem problem = problem_of(request, gpu_);
  const OutputParts parts = parts_of(part_rows, problem);
  require(parts.count == 0 || problem.kind == ProblemKind::dense, "a grouped GEMM has one output");
  const Outputs outputs = parts.count > 0 ? Outputs::split : Outputs::one;
  if (const auto error = tokens_error(m_lo)) throw std::invalid_argument(*error);
  if (const auto error = tokens_error(m_hi)) throw std::invalid_argument(*error);
  if (m_lo > m_hi) {
    throw std::invalid_argument(fmt::format("the range of M ends at {}, before {}", m_hi, m_lo));
  }
  std::vector<Gemm::Range> ranges;
  for (const int64_t end : range_ends(*snapshot_, problem, m_lo, m_hi)) {
    Selection selection = lookup(request, end);
    const KernelConfig chosen = selection.config;
    selection.config = within_counters(chosen, problem, end, gpu_.facts());
    // What was measured is this kernel with one output.
    if (selection.config != chosen || outputs == Outputs::split) selection.code_hash = {};
    if (!ranges.empty() && ranges.back().selection.config == selection.config) {
      ranges.back().m_hi = end;
    } else {
      ranges.push_back({.m_hi = end, .selection = selection});
    }
  }
  // A config may serve two ranges with another between them.
  std::vector<Gemm::Range*> distinct;
  const auto twin = [&](const Gemm::Range& range) {
    return std::find_if(distinct.begin(), distinct.end(), [&](const Gemm::Range* other) {
      return other->selection.config == range.selection.config;
    });
  };
  for (Gemm::Range& range : ranges) {
    if (twin(range) == distinct.end()) distinct.push_back(&range);
  }
  parallel_for(static_cast<int64_t>(distinct.size()), std::thread::hardware_concurrency(),
               [&](int64_t i) {
                 Gemm::Range& range = *distinct[i];
                 load(emit_source(range.selection.config, problem, outputs), range);
               });
  for (Gemm::Range& range : ranges) {
    const Gemm::Range& loaded = **twin(range);
    range.kernel = loaded.kernel;
    range.resources = loaded.resources;
    range.code_hash = loaded.code_hash;
    compare_code(problem, range);
  }
  return Gemm(gpu_, request, snapshot_, parts, std::move(ranges));
}

}  // namespace nvfp4
