// SPDX-License-Identifier: Apache-2.0
// Requests to the workers, and the finals. The loop over all candidates is in pipeline_run.cpp.
#include "tuner/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "generator/config_text.h"
#include "generator/emit.h"
#include "tuner/gate.h"
#include "tuner/measure.h"
#include "tuner/rows.h"
#include "tuner/statistics.h"

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
// Samples that spread wider than this say more about the machine than about the kernel.
constexpr double kMostNoise = 0.15;

// And so does a series of which more than a fifth had to be left out.
constexpr double kMostDiscarded = 0.2;

// Why samples are no evidence, or empty.
std::string noise_of(const PolicyTimes& times) {
  const auto kept = static_cast<double>(times.samples_us.size());
  if (times.samples_us.empty() || times.discarded > kMostDiscarded * (kept + times.discarded)) {
    return fmt::format("{} of {} rounds ran with the clock far down ({} MHz at most, {})",
                       times.discarded, kept + times.discarded, times.clock_mhz,
                       times.reasons.empty() ? "no reason given" : times.reasons);
  }
  const Quartiles q = quartiles(times.samples_us);
  if (q.q3 - q.q1 <= kMostNoise * q.median) return {};
  return fmt::format("half of the samples lie outside {:.2f} to {:.2f} us", q.q1, q.q3);
}

// "; clock held at 1410 MHz by power cap, 698 W": what explains a time beside the kernel.
std::string slowdown_of(const PolicyTimes& times) {
  if (!times.throttled) return {};
  return fmt::format("; clock held at {} MHz by {}, {:.0f} W, {} C", times.clock_mhz, times.reasons,
                     times.power_w, times.temperature_c);
}

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

std::chrono::milliseconds Pipeline::compile_limit() const { return kCompileLimit; }

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

// One request to the GPU worker, waited for. Empty without a death: the user wants to stop.
std::optional<Message> Pipeline::ask_worker(const Message& request,
                                            std::optional<WorkerDeath>& death,
                                            std::chrono::milliseconds extra) {
  death.reset();
  // The worker may still be at what the user stopped.
  if (workshop_.stopped()) return std::nullopt;
  workers_.submit(bench_role_, 0, request, bench_limit() + extra);
  while (!workshop_.stopped()) {
    std::optional<Completion> completion = workers_.wait(kTick);
    if (!completion) continue;
    if (completion->role == compile_role_) {
      waiting_.push_back(std::move(*completion));
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
  // Compilations that an earlier run gave up on may still be under way; nobody wants their results.
  waiting_.clear();
  while (!workers_.idle(compile_role_) && !workshop_.stopped()) workers_.wait(kTick);
  if (workshop_.stopped()) return std::nullopt;
  constexpr size_t kTag = ~size_t{0};
  workers_.submit(compile_role_, kTag, compile_request(source_of(config, problem_.n)),
                  compile_limit());
  while (!workshop_.stopped()) {
    const std::optional<Completion> completion = workers_.wait(kTick);
    if (!completion || completion->role != compile_role_ || completion->tag != kTag) continue;
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
  size_t next = 0;
  while (!workshop_.stopped()) {
    for (; next < wanted.size() && workers_.idle(compile_role_); ++next) {
      workers_.submit(compile_role_, next, compile_request(source_of(wanted[next], problem_.n)),
                      compile_limit());
    }
    if (next == wanted.size() && workers_.busy(compile_role_) == 0) return;
    const std::optional<Completion> completion = workers_.wait(kTick);
    // What fails here fails again in finals(), which says so.
    if (!completion || completion->role != compile_role_ || !completion->reply) continue;
    Compilation compilation = decode_compilation(*completion->reply);
    if (compile_fault(compilation)) continue;
    kernels_[config_text(wanted[completion->tag])] = std::move(compilation);
  }
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

std::optional<Evaluation> Pipeline::gate_fully(const KernelConfig& config, int64_t m,
                                               const Compilation& kernel) {
  const std::pair key(config_text(config), m);
  if (const auto known = fully_gated_.find(key); known != fully_gated_.end()) return known->second;
  EvaluateJob job = evaluate_job(config, m, problem_.n);
  job.depth = GateDepth::full;
  job.image = image_of(kernel);
  listener_.started(config);
  std::optional<WorkerDeath> death;
  const std::optional<Message> reply = ask_bench(key.first, encode(job), death);
  listener_.finished(config);
  if (!reply && !death) return std::nullopt;
  return fully_gated_[key] = death ? evaluation_of(*death) : decode_evaluation(*reply);
}

std::vector<Measurement> Pipeline::finals(int64_t m, Policy policy,
                                          const std::vector<KernelConfig>& configs) {
  FinalsJob job{
      .device = workshop_.device, .problem = problem_, .m = m, .policy = policy, .seed = seed_};
  std::vector<Measurement> rows;
  std::vector<size_t> timed;  // rows in the order of the job's configs
  for (const KernelConfig& config : configs) {
    workshop_.progress.step("finals", rows.size(), configs.size(), fmt::format("M = {}", m));
    const std::optional<Compilation> kernel = compile_now(config);
    if (workshop_.stopped()) return {};
    rows.push_back(row(config, m, policy, kernel.value_or(Compilation{})));
    Evaluation evaluation{.verdict = Verdict::compile_error, .text = "does not compile any more"};
    if (kernel) {
      std::optional<Evaluation> gated = gate_fully(config, m, *kernel);
      if (!gated) return {};
      evaluation = std::move(*gated);
    }
    rows.back().verdict = evaluation.verdict;
    rows.back().text = evaluation.text;
    if (evaluation.verdict != Verdict::ok) continue;
    timed.push_back(rows.size() - 1);
    job.configs.push_back(config);
    job.images.push_back(image_of(*kernel));
  }
  if (timed.empty()) return rows;

  // All of them have run before: a death here is the machine's doing, and once is an accident.
  std::optional<WorkerDeath> death;
  std::optional<Message> reply = ask_bench("a series of finals", encode(job), death);
  if (death) reply = ask_bench("a series of finals", encode(job), death);
  if (!reply && !death) return {};
  if (death) throw MeasureError("the finals cannot be measured: " + death->text);
  const FinalsResult result = decode_finals_result(*reply);
  for (size_t i = 0; i < timed.size(); ++i) {
    Measurement& measurement = rows[timed[i]];
    const PolicyTimes& times = result.times.at(i);
    const std::string noise = noise_of(times);
    if (!noise.empty()) measurement.text = noise;
    if (!noise.empty()) measurement.verdict = Verdict::too_noisy;
    measurement.text += slowdown_of(times);
    if (times.samples_us.empty()) continue;
    measurement.timing = timing_of(times, problem_, m, ceilings(m));
    measurement.samples_us = times.samples_us;
  }
  return rows;
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
