// SPDX-License-Identifier: Apache-2.0
// Requests to the workers. The loop over all candidates is in pipeline_run.cpp, the finals in
// pipeline_finals.cpp.
#include "tuner/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "generator/config_text.h"
#include "generator/emit.h"
#include "runtime/code_hash.h"
#include "tuner/gate.h"
#include "tuner/measure.h"
#include "tuner/rows.h"

namespace nvfp4 {
namespace {

constexpr auto kCompileLimit = std::chrono::seconds(60);
constexpr auto kBenchLimit = std::chrono::seconds(30);
// An emulated device takes seconds for what a GPU does in milliseconds, and shares the host's
// cores.
constexpr auto kEmulatedBenchLimit = std::chrono::minutes(3);
// More for cuBLASLt: half a gigabyte of library comes from the disk, and eight algorithms are
// tried.
constexpr auto kLibraryLimit = std::chrono::minutes(2);
constexpr auto kTick = std::chrono::milliseconds(200);

// Tags of compilations: what one part of a run asked for is not mistaken for what another did and
// gave up on.
constexpr size_t kTagRange = size_t{1} << 32;
constexpr size_t kAhead = 0;  // of no range

}  // namespace

Pipeline::Pipeline(const Workshop& workshop, const Problem& problem, std::vector<Policy> policies,
                   int64_t max_m, uint64_t seed, Listener listener)
    : workshop_(workshop),
      problem_(problem),
      policies_(std::move(policies)),
      max_m_(max_m),
      seed_(seed),
      listener_(std::move(listener)) {
  compile_role_ = workers_.add_role(self_command("compile"), workshop_.jobs);
  bench_role_ = workers_.add_role(self_command("bench"), 1);
}

Evaluation Pipeline::evaluation_of(const WorkerDeath& death) {
  const bool hung = death.cause == WorkerDeath::Cause::hung;
  return {.verdict = hung ? Verdict::hang : Verdict::fault, .text = death.text};
}

std::chrono::milliseconds Pipeline::compile_limit() const {
  return workshop_.compile_limit.value_or(kCompileLimit);
}

std::chrono::milliseconds Pipeline::bench_limit() const {
  if (workshop_.bench_limit) return *workshop_.bench_limit;
  if (workshop_.gpu.emulated()) return kEmulatedBenchLimit;
  // The first request also makes the test data: about a second for each 2^31 products.
  const int64_t products = problem_.n * problem_.k * std::min<int64_t>(max_m_, 64) * 4;
  return kBenchLimit + std::chrono::seconds(products >> 31);
}

std::string Pipeline::image_of(const Compilation& compilation) const {
  return workshop_.gpu.emulated() ? compilation.ptx : compilation.cubin;
}

std::string Pipeline::source_of(const KernelConfig& config, int64_t n) const {
  Problem problem = problem_;
  problem.n = n;
  return emit_source(config, problem);
}

Message Pipeline::compile_request(std::string source) const {
  return encode(CompileJob{.source = std::move(source),
                           .arch = problem_.arch,
                           .driver_version = workshop_.gpu.driver().version(),
                           .cache_directory = workshop_.cache_options.directory.string(),
                           .cache_limit = workshop_.cache_options.size_limit});
}

EvaluateJob Pipeline::evaluate_job(const KernelConfig& config, int64_t m, int64_t gate_n) const {
  return {.device = workshop_.device,
          .problem = problem_,
          .gate_n = gate_n,
          .config = config,
          .m = m,
          .max_m = max_m_,
          .seed = seed_};
}

Measurement Pipeline::row(const KernelConfig& config, int64_t m, Policy policy,
                          const Compilation& compilation) const {
  const bool modelled = workshop_.gpu.emulated();
  return {.kernel = kernel_record(config, source_of(config, problem_.n), compilation),
          .problem = problem_,
          .m = m,
          .policy = policy,
          .provenance = modelled ? Provenance::modelled : Provenance::measured};
}

std::optional<Completion> Pipeline::next_completion() {
  if (waiting_.empty()) return workers_.wait(kTick);
  Completion completion = std::move(waiting_.front());
  waiting_.pop_front();
  return completion;
}

size_t Pipeline::new_tags() { return kTagRange * ++tag_ranges_; }

// Compile workers that nobody needs now. The results are in the cache when somebody asks for them,
// if it is on disk; what fails will fail then.
void Pipeline::compile_ahead() {
  if (!workshop_.ahead || workshop_.cache_options.directory.empty()) return;
  while (workers_.idle(compile_role_)) {
    std::optional<std::string> source = workshop_.ahead();
    if (!source) return;
    workers_.submit(compile_role_, kAhead, compile_request(std::move(*source)), compile_limit());
  }
}

// One request to the GPU worker, waited for. Empty without a death: the user wants to stop.
std::optional<Message> Pipeline::ask_worker(const Message& request,
                                            std::optional<WorkerDeath>& death,
                                            std::chrono::milliseconds extra) {
  death.reset();
  // The worker may still be at what the user stopped.
  if (workshop_.stopped()) return std::nullopt;
  workers_.submit(bench_role_, 0, request, bench_limit() + extra);
  while (!workshop_.stopped()) {
    compile_ahead();
    std::optional<Completion> completion = workers_.wait(kTick);
    if (!completion) continue;
    if (completion->role == compile_role_) {
      if (completion->tag != kAhead) waiting_.push_back(std::move(*completion));
      continue;
    }
    death = completion->death;
    return std::move(completion->reply);
  }
  return std::nullopt;
}

// The same on a card that is known to be sane. `what` is blamed should it end the worker.
std::optional<Message> Pipeline::ask_bench(std::string_view what, const Message& request,
                                           std::optional<WorkerDeath>& death,
                                           std::chrono::milliseconds extra) {
  ready_card();
  let_spare_start();
  std::optional<Message> reply = ask_worker(request, death, extra);
  if (death || (reply && reply->header.value("last", false))) doubt_ = what;
  return reply;
}

const Ceilings& Pipeline::ceilings(int64_t m) {
  const int64_t bytes = weight_bytes(problem_, m);
  const auto known = ceilings_.find(bytes);
  if (known != ceilings_.end()) return known->second;
  const Device& device = workshop_.gpu.facts();
  if (device.emulated) return ceilings_[bytes] = modelled_ceilings(device, bytes);
  std::optional<WorkerDeath> death;
  const std::optional<Message> reply =
      ask_bench("the read kernel",
                encode(CeilingsJob{
                    .device = workshop_.device, .bytes = bytes, .image = image_of(read_kernel())}),
                death);
  if (death) throw MeasureError("the read ceilings cannot be measured: " + death->text);
  return ceilings_[bytes] = reply ? decode_ceilings(*reply) : modelled_ceilings(device, bytes);
}

// The kernel of a config that may have been compiled by an earlier run; empty when it cannot be.
std::optional<Compilation> Pipeline::compile_now(const KernelConfig& config) {
  const std::string text = config_text(config);
  if (const auto known = kernels_.find(text); known != kernels_.end()) return known->second;
  // Compilations that were given up may still be under way; nobody wants their results.
  waiting_.clear();
  while (!workers_.idle(compile_role_) && !workshop_.stopped()) workers_.wait(kTick);
  if (workshop_.stopped()) return std::nullopt;
  const size_t tag = new_tags();
  workers_.submit(compile_role_, tag, compile_request(source_of(config, problem_.n)),
                  compile_limit());
  while (!workshop_.stopped()) {
    const std::optional<Completion> completion = workers_.wait(kTick);
    if (!completion || completion->role != compile_role_ || completion->tag != tag) continue;
    if (!completion->reply) return std::nullopt;
    Compilation compilation = decode_compilation(*completion->reply);
    if (compile_fault(compilation)) return std::nullopt;
    return kernels_[text] = std::move(compilation);
  }
  return std::nullopt;
}

void Pipeline::prepare(const std::vector<KernelConfig>& configs) {
  std::vector<KernelConfig> wanted;
  for (const KernelConfig& config : configs) {
    if (!kernels_.contains(config_text(config))) wanted.push_back(config);
  }
  waiting_.clear();
  const size_t first_tag = new_tags();
  size_t next = 0;
  size_t under_way = 0;
  while (!workshop_.stopped()) {
    for (; next < wanted.size() && workers_.idle(compile_role_); ++next, ++under_way) {
      workers_.submit(compile_role_, first_tag + next,
                      compile_request(source_of(wanted[next], problem_.n)), compile_limit());
    }
    if (next == wanted.size() && under_way == 0) return;
    const std::optional<Completion> completion = workers_.wait(kTick);
    if (!completion || completion->role != compile_role_ || completion->tag < first_tag) continue;
    --under_way;
    // What fails here fails again in finals(), which says so.
    if (!completion->reply) continue;
    Compilation compilation = decode_compilation(*completion->reply);
    if (compile_fault(compilation)) continue;
    kernels_[config_text(wanted[completion->tag - first_tag])] = std::move(compilation);
  }
}

std::string Pipeline::built_code(const KernelConfig& config) const {
  const auto built = kernels_.find(config_text(config));
  if (built == kernels_.end()) return {};
  return code_hash(built->second.cubin).value_or("");
}

std::optional<MatrixResult> Pipeline::matrix(int64_t n, int64_t k, int64_t m) {
  std::optional<WorkerDeath> death;
  const std::optional<Message> reply =
      ask_bench("cuBLASLt", encode(MatrixJob{.device = workshop_.device, .n = n, .k = k, .m = m}),
                death, kLibraryLimit);
  if (death) return MatrixResult{.error = "cuBLASLt: " + death->text};
  if (!reply) return std::nullopt;
  return decode_matrix_result(*reply);
}

// The rows that one evaluation at one M makes: one a policy when it passed, else one in all.
std::vector<Measurement> Pipeline::rows_of(const KernelConfig& config, int64_t m,
                                           const Compilation& kernel,
                                           const Evaluation& evaluation) {
  std::vector<Measurement> rows;
  for (size_t i = 0; i < policies_.size(); ++i) {
    Measurement measurement = row(config, m, policies_[i], kernel);
    measurement.verdict = evaluation.verdict;
    measurement.text = evaluation.text;
    if (evaluation.verdict == Verdict::ok && workshop_.gpu.emulated()) {
      measurement.timing =
          modelled_timing(config, problem_, m, policies_[i], workshop_.gpu.facts(), ceilings(m));
    } else if (evaluation.verdict == Verdict::ok) {
      measurement.timing = timing_of(evaluation.times.at(i), problem_, m, ceilings(m));
      measurement.samples_us = evaluation.times[i].samples_us;
    }
    rows.push_back(std::move(measurement));
    if (evaluation.verdict != Verdict::ok) break;
  }
  return rows;
}

}  // namespace nvfp4
