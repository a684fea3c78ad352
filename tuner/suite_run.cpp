// SPDX-License-Identifier: Apache-2.0
// One pipeline a shape, one row an M.
#include "tuner/suite_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "generator/candidate_space.h"
#include "generator/config_text.h"
#include "tuner/statistics.h"
#include "tuner/tune.h"

namespace nvfp4 {
namespace {

constexpr int64_t kRateSize = 8192;  // of the square product that gives the matrix rate
constexpr int kTries = 3;            // at a time that is too noisy to report

class SuiteRun {
 public:
  SuiteRun(const SuiteRequest& request, const Workshop& workshop, const Snapshot& snapshot,
           const std::function<void(const SuiteOutcome&)>& progress)
      : request_(request),
        shop_(workshop),
        snapshot_(snapshot),
        progress_(progress),
        device_(workshop.gpu.facts()),
        policies_(device_policies(device_)) {}

  SuiteOutcome run() {
    outcome_.modelled = device_.emulated;
    if (request_.baseline && device_.emulated) {
      outcome_.baseline = "cuBLASLt unavailable: it needs a real GPU";
    }
    for (const Shape& shape : request_.shapes) {
      if (!shop_.stopped()) run_shape(shape);
    }
    if (shop_.stopped()) outcome_.end = RunEnd::stopped;
    return std::move(outcome_);
  }

 private:
  void run_shape(const Shape& shape);
  SuiteAnswer answer(const Problem& problem, int64_t m, Policy policy) const;
  void time(Pipeline& pipeline, SuiteAnswer& answer, int64_t m, Policy policy);
  void model(Pipeline& pipeline, SuiteRow& row);
  void measure_rate(Pipeline& pipeline);
  void measure_baseline(Pipeline& pipeline, SuiteRow& row);
  void show(const Shape& shape, int64_t m) const;

  const SuiteRequest& request_;
  const Workshop& shop_;
  const Snapshot& snapshot_;
  const std::function<void(const SuiteOutcome&)>& progress_;
  const Device& device_;
  std::vector<Policy> policies_;
  SuiteOutcome outcome_;
  std::vector<Measurement> modelled_;  // what the emulated device's pipeline said last
};

SuiteAnswer SuiteRun::answer(const Problem& problem, int64_t m, Policy policy) const {
  const Selection s = lookup(snapshot_, problem, m, policy);
  SuiteAnswer answer{
      .config = s.config,
      .answer = fmt::format("{} {} {}", name(s.layer), name(s.match), name(s.provenance))};
  // The default is proposed without dependent launches; here it runs with them.
  answer.config.pdl = answer.config.pdl || policy == Policy::graph_pdl;
  if (const std::optional<std::string> why = illegal_reason(answer.config, device_)) {
    answer.verdict = Verdict::constraint;
    answer.text = *why;
  }
  return answer;
}

void SuiteRun::show(const Shape& shape, int64_t m) const {
  shop_.progress.step("bench", outcome_.rows.size(),
                      request_.shapes.size() * request_.tokens.size(),
                      fmt::format("N = {} K = {} M = {}", shape.n, shape.k, m));
}

void SuiteRun::time(Pipeline& pipeline, SuiteAnswer& answer, int64_t m, Policy policy) {
  for (int i = 0; i < kTries && answer.verdict != Verdict::constraint; ++i) {
    const std::vector<Measurement> rows = pipeline.finals(m, policy, {answer.config});
    if (rows.empty()) return;  // stopped
    answer.verdict = rows.front().verdict;
    answer.text = rows.front().text;
    if (answer.verdict == Verdict::ok) answer.us = rows.front().timing.median_us;
    if (answer.verdict != Verdict::too_noisy) return;
  }
}

// On an emulated device the pipeline gates (on fewer rows where it must) and asks the cost model.
void SuiteRun::model(Pipeline& pipeline, SuiteRow& row) {
  std::vector<SuiteAnswer*> answers = {&row.graph};
  if (row.pdl) answers.push_back(&*row.pdl);
  std::vector<Task> tasks;
  for (const SuiteAnswer* answer : answers) {
    const bool known = std::any_of(tasks.begin(), tasks.end(), [&](const Task& task) {
      return task.candidate.config == answer->config;
    });
    if (known || answer->verdict != Verdict::ok) continue;
    tasks.push_back({.candidate = {.config = answer->config}, .tokens = {row.m}});
  }
  modelled_.clear();
  pipeline.run(tasks, Pipeline::Clock::now() + std::chrono::hours(24), 1 << 30, {});
  for (SuiteAnswer* answer : answers) {
    const Policy policy = answer == &row.graph ? Policy::graph : Policy::graph_pdl;
    for (const Measurement& m : modelled_) {
      if (!(m.kernel.config == answer->config)) continue;
      if (m.verdict == Verdict::ok && m.policy != policy) continue;
      answer->verdict = m.verdict;
      answer->text = m.text;
      if (m.verdict == Verdict::ok) answer->us = m.timing.median_us;
    }
  }
}

void SuiteRun::measure_rate(Pipeline& pipeline) {
  outcome_.assumed_flops = pipeline.ceilings().tensor_flops;
  if (device_.emulated) {
    outcome_.rate_source = "bf16 rate: from the data sheet, the device is emulated";
    return;
  }
  shop_.progress.step("bf16 rate", 0, 1, "cuBLASLt");
  const std::optional<MatrixResult> result = pipeline.matrix(kRateSize, kRateSize, kRateSize);
  if (!result) return;
  if (!result->error.empty()) {
    outcome_.rate_source = fmt::format("bf16 rate: from the data sheet, {}", result->error);
    if (request_.baseline) outcome_.baseline = fmt::format("unavailable: {}", result->error);
    return;
  }
  const double seconds = quartiles(result->times.samples_us).median * 1e-6;
  outcome_.bf16_flops = 2.0 * kRateSize * kRateSize * kRateSize / seconds;
  outcome_.rate_source =
      fmt::format("bf16 rate: {} at {}^3, measured in this run", result->library, kRateSize);
  if (request_.baseline) outcome_.baseline = result->library;
}

void SuiteRun::measure_baseline(Pipeline& pipeline, SuiteRow& row) {
  if (!request_.baseline || !outcome_.bf16_flops) return;
  const std::optional<MatrixResult> result = pipeline.matrix(row.shape.n, row.shape.k, row.m);
  if (!result) return;
  if (result->error.empty()) {
    row.us_cublas = quartiles(result->times.samples_us).median;
  } else {
    shop_.progress.note(fmt::format("nvfp4-tune: baseline at N={} K={} M={}: {}", row.shape.n,
                                    row.shape.k, row.m, result->error));
  }
}

void SuiteRun::run_shape(const Shape& shape) {
  const Problem problem{.n = shape.n, .k = shape.k, .act = request_.act, .arch = device_.arch};
  Progress silent({}, false);  // the line on the terminal is about the suite
  Workshop shop{.gpu = shop_.gpu,
                .device = shop_.device,
                .compiler = shop_.compiler,
                .cache = shop_.cache,
                .cache_options = shop_.cache_options,
                .jobs = shop_.jobs,
                .progress = silent,
                .stopped = shop_.stopped};
  const auto ignore = [](const KernelConfig&) {};
  const auto keep = [this](const std::vector<Measurement>& rows) {
    modelled_.insert(modelled_.end(), rows.begin(), rows.end());
  };
  show(shape, request_.tokens.front());
  Pipeline pipeline(shop, problem, policies_, request_.tokens.back(), request_.seed,
                    {.started = ignore, .measured = keep, .finished = ignore});
  if (outcome_.rate_source.empty()) measure_rate(pipeline);

  const bool pdl = policies_.back() == Policy::graph_pdl;
  std::vector<SuiteRow> rows;
  std::vector<KernelConfig> configs;
  for (int64_t m : request_.tokens) {
    SuiteRow row{.shape = shape, .m = m, .graph = answer(problem, m, Policy::graph)};
    if (pdl) row.pdl = answer(problem, m, Policy::graph_pdl);
    for (const SuiteAnswer* a : {&row.graph, row.pdl ? &*row.pdl : nullptr}) {
      const bool wanted = a != nullptr && a->verdict == Verdict::ok;
      if (wanted && std::find(configs.begin(), configs.end(), a->config) == configs.end()) {
        configs.push_back(a->config);
      }
    }
    rows.push_back(std::move(row));
  }
  if (!device_.emulated) pipeline.prepare(configs);
  const Ceilings& ceilings = pipeline.ceilings();
  for (SuiteRow& row : rows) {
    show(shape, row.m);
    row.read_us = ceilings.launch_seconds * 1e6;
    row.stream_bytes_per_s = ceilings.stream_bytes_per_s;
    if (device_.emulated) {
      model(pipeline, row);
    } else {
      if (row.pdl) time(pipeline, *row.pdl, row.m, Policy::graph_pdl);
      time(pipeline, row.graph, row.m, Policy::graph);
      measure_baseline(pipeline, row);
    }
    if (shop_.stopped()) return;  // a row that was cut short says less than none
    outcome_.rows.push_back(std::move(row));
    progress_(outcome_);
  }
}

}  // namespace

std::optional<double> SuiteRow::best() const {
  if (!pdl || !pdl->us) return graph.us;
  return graph.us ? std::min(*graph.us, *pdl->us) : *pdl->us;
}

SuiteOutcome run_suite(const SuiteRequest& request, const Workshop& workshop,
                       const Snapshot& snapshot,
                       const std::function<void(const SuiteOutcome&)>& progress) {
  return SuiteRun(request, workshop, snapshot, progress).run();
}

}  // namespace nvfp4
