// SPDX-License-Identifier: Apache-2.0
// One pipeline a shape, one row an M.
#include "tuner/suite_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "generator/config_text.h"
#include "generator/legality.h"
#include "tuner/pipeline.h"
#include "tuner/statistics.h"
#include "tuner/tune.h"

namespace nvfp4 {
namespace {

constexpr int64_t kRateSize = 8192;  // of the square product that gives the matrix rate
constexpr int kTries = 3;            // at a time that is too noisy to report

// One kernel on its way to an answer.
struct Trial {
  Policy policy = Policy::graph;
  KernelConfig config;
  std::string answer;
  Verdict verdict = Verdict::ok;
  std::string text = {};
  std::optional<double> us = {};
  std::optional<SuiteEvidence> evidence = {};

  void take(const Measurement& m) {
    evidence = {
        .verdict = m.verdict, .kernel = m.kernel, .timing = m.timing, .samples_us = m.samples_us};
    verdict = m.verdict;
    text = m.text;
    if (m.verdict == Verdict::ok) us = m.timing.median_us;
  }
  bool wrong() const {
    return verdict == Verdict::wrong || verdict == Verdict::nondeterministic ||
           verdict == Verdict::out_of_bounds;
  }
  SuiteAnswer result() const {
    return {.us = us,
            .family = std::string(name(config.family)),
            .config = config_text(config),
            .answer = answer,
            .note = us ? "" : fmt::format("{}: {}", name(verdict), text),
            .evidence = evidence};
  }
};

// The trials of one M, one a policy.
struct Trials {
  int64_t m = 0;
  std::vector<Trial> all;
};

class SuiteRun {
 public:
  SuiteRun(const SuiteRequest& request, const Workshop& workshop, const Snapshot& snapshot,
           SuiteResults& results, const std::function<void()>& progress)
      : request_(request),
        shop_(workshop),
        snapshot_(snapshot),
        results_(results),
        progress_(progress),
        device_(workshop.gpu.facts()),
        policies_(device_policies(device_)) {}

  SuiteOutcome run() {
    if (request_.baseline && device_.emulated) {
      results_.baseline = "cuBLASLt unavailable: it needs a real GPU";
    }
    for (const Shape& shape : request_.shapes) {
      const std::vector<int64_t> wanted = missing(shape);
      if (!wanted.empty() && !shop_.stopped()) run_shape(shape, wanted);
    }
    results_.complete = std::all_of(request_.shapes.begin(), request_.shapes.end(),
                                    [&](const Shape& shape) { return missing(shape).empty(); });
    return {.end = results_.complete ? RunEnd::complete : RunEnd::stopped, .wrong = wrong_};
  }

 private:
  std::vector<int64_t> missing(const Shape& shape) const;
  void run_shape(const Shape& shape, const std::vector<int64_t>& tokens);
  std::vector<Trials> choose(const Problem& problem, const std::vector<int64_t>& tokens) const;
  Trial choose(const Problem& problem, int64_t m, Policy policy) const;
  void time(Pipeline& pipeline, Trials& trials);
  void model(Pipeline& pipeline, Trials& trials);
  void take_ceilings(const Shape& shape, const Ceilings& ceilings);
  void measure_rate(Pipeline& pipeline);
  void measure_baseline(Pipeline& pipeline, const Shape& shape, SuiteRow& row);
  void show(const Shape& shape, int64_t m) const;

  const SuiteRequest& request_;
  const Workshop& shop_;
  const Snapshot& snapshot_;
  SuiteResults& results_;
  const std::function<void()>& progress_;
  const Device& device_;
  std::vector<Policy> policies_;
  std::vector<Measurement> modelled_;  // what the emulated device's pipeline said last
  bool rate_known_ = false;
  bool library_works_ = false;
  bool wrong_ = false;
};

std::vector<int64_t> SuiteRun::missing(const Shape& shape) const {
  std::vector<int64_t> tokens;
  for (int64_t m : request_.tokens) {
    const auto& cells = request_.cells;
    const bool wanted =
        cells.empty() || std::count(cells.begin(), cells.end(), SuiteCell{shape, m}) > 0;
    const bool there = results_.find(shape.n, shape.k, m, request_.act) != nullptr;
    if (wanted && !there) tokens.push_back(m);
  }
  return tokens;
}

void SuiteRun::show(const Shape& shape, int64_t m) const {
  const size_t grid = request_.shapes.size() * request_.tokens.size();
  shop_.progress.step("bench", results_.rows.size(),
                      request_.cells.empty() ? grid : request_.cells.size(),
                      fmt::format("N = {} K = {} M = {}", shape.n, shape.k, m));
}

Trial SuiteRun::choose(const Problem& problem, int64_t m, Policy policy) const {
  const Selection s = lookup(snapshot_, problem, m, policy);
  Trial trial{.policy = policy, .config = s.config, .answer = std::string(name(s.layer))};
  const bool said = s.match == Match::exact || s.match == Match::fallback;
  if (!said) trial.answer += fmt::format(" {}", name(s.match));
  // The default is proposed without dependent launches; here it runs with them.
  trial.config.pdl = trial.config.pdl || policy == Policy::graph_pdl;
  if (const std::optional<std::string> why = illegal_reason(trial.config, device_)) {
    trial.verdict = Verdict::constraint;
    trial.text = *why;
  }
  return trial;
}

std::vector<Trials> SuiteRun::choose(const Problem& problem,
                                     const std::vector<int64_t>& tokens) const {
  std::vector<Trials> chosen;
  for (int64_t m : tokens) {
    chosen.push_back({.m = m});
    for (Policy policy : policies_) chosen.back().all.push_back(choose(problem, m, policy));
  }
  return chosen;
}

void SuiteRun::time(Pipeline& pipeline, Trials& trials) {
  for (Trial& trial : trials.all) {
    for (int i = 0; i < kTries && trial.verdict != Verdict::constraint; ++i) {
      const std::vector<Measurement> rows = pipeline.finals(trials.m, trial.policy, {trial.config});
      if (rows.empty()) return;  // stopped
      trial.take(rows.front());
      if (trial.verdict != Verdict::too_noisy) break;
    }
  }
}

// On an emulated device the pipeline gates (on fewer rows where it must) and asks the cost model.
void SuiteRun::model(Pipeline& pipeline, Trials& trials) {
  std::vector<Task> tasks;
  for (const Trial& trial : trials.all) {
    const bool known = std::any_of(tasks.begin(), tasks.end(), [&](const Task& task) {
      return task.candidate.config == trial.config;
    });
    if (known || trial.verdict != Verdict::ok) continue;
    tasks.push_back({.candidate = {.config = trial.config}, .tokens = {trials.m}});
  }
  modelled_.clear();
  pipeline.run(tasks, Pipeline::Clock::now() + std::chrono::hours(24));
  for (Trial& trial : trials.all) {
    for (const Measurement& m : modelled_) {
      // A failure is one row whatever the policy.
      if (m.verdict == Verdict::ok && m.policy != trial.policy) continue;
      if (m.kernel.config == trial.config) trial.take(m);
    }
  }
}

// The best that the card was seen to do, as in merge().
void SuiteRun::take_ceilings(const Shape& shape, const Ceilings& ceilings) {
  const double us = ceilings.launch_seconds * 1e6;
  const auto [read, added] = results_.ceilings.read_us.emplace(packed_bytes(shape.n, shape.k), us);
  if (!added) read->second = std::min(read->second, us);
  results_.ceilings.read_gbps =
      std::max(results_.ceilings.read_gbps, ceilings.stream_bytes_per_s * 1e-9);
  results_.ceilings.assumed_tflops = ceilings.tensor_flops * 1e-12;
}

void SuiteRun::measure_rate(Pipeline& pipeline) {
  std::string& source = results_.ceilings.bf16_source;
  if (device_.emulated) {
    source = "bf16 rate: from the data sheet, the device is emulated";
    return;
  }
  shop_.progress.step("bf16 rate", 0, 1, "cuBLASLt");
  const std::optional<MatrixResult> result = pipeline.matrix(kRateSize, kRateSize, kRateSize);
  if (!result) return;
  library_works_ = result->error.empty();
  if (!library_works_) {
    if (!results_.ceilings.bf16_tflops) {
      source = fmt::format("bf16 rate: from the data sheet, {}", result->error);
    }
    if (request_.baseline) results_.baseline = fmt::format("unavailable: {}", result->error);
    return;
  }
  const double us = quartiles(result->times.samples_us).median;
  const double tflops = 2e-6 * kRateSize * kRateSize * kRateSize / us;
  if (tflops > results_.ceilings.bf16_tflops.value_or(0)) {
    results_.ceilings.bf16_tflops = tflops;
    source = fmt::format("bf16 rate: {} at {}^3, measured in this run", result->library, kRateSize);
  }
  if (request_.baseline) results_.baseline = result->library;
}

void SuiteRun::measure_baseline(Pipeline& pipeline, const Shape& shape, SuiteRow& row) {
  if (!request_.baseline || !library_works_) return;
  const std::optional<MatrixResult> result = pipeline.matrix(shape.n, shape.k, row.m);
  if (!result) return;
  if (!result->error.empty()) {
    shop_.progress.note(fmt::format("nvfp4-tune: baseline at N={} K={} M={}: {}", shape.n, shape.k,
                                    row.m, result->error));
    return;
  }
  const Quartiles q = quartiles(result->times.samples_us);
  row.us_cublas = q.median;
  row.cublas_spread = {
      .q1_us = q.q1, .q3_us = q.q3, .samples = static_cast<int>(result->times.samples_us.size())};
}

void SuiteRun::run_shape(const Shape& shape, const std::vector<int64_t>& tokens) {
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
  show(shape, tokens.front());
  Pipeline pipeline(shop, problem, policies_, tokens.back(), request_.seed,
                    {.started = ignore, .measured = keep, .finished = ignore});
  const Ceilings& ceilings = pipeline.ceilings(tokens.back());
  if (shop_.stopped()) return;  // before anything is taken from a measurement that was cut short
  take_ceilings(shape, ceilings);
  if (!std::exchange(rate_known_, true)) measure_rate(pipeline);

  std::vector<Trials> chosen = choose(problem, tokens);
  std::vector<KernelConfig> configs;
  for (const Trials& trials : chosen) {
    for (const Trial& trial : trials.all) {
      const bool known = std::find(configs.begin(), configs.end(), trial.config) != configs.end();
      if (trial.verdict == Verdict::ok && !known) configs.push_back(trial.config);
    }
  }
  if (!device_.emulated) pipeline.prepare(configs);
  for (Trials& trials : chosen) {
    show(shape, trials.m);
    SuiteRow row{.n = shape.n, .k = shape.k, .m = trials.m, .act = request_.act};
    if (device_.emulated) {
      model(pipeline, trials);
    } else {
      time(pipeline, trials);
      measure_baseline(pipeline, shape, row);
    }
    if (shop_.stopped()) return;  // a row that was cut short says less than none
    for (const Trial& trial : trials.all) {
      wrong_ = wrong_ || trial.wrong();
      if (trial.policy == Policy::graph) row.graph = trial.result();
      if (trial.policy == Policy::graph_pdl) row.pdl = trial.result();
    }
    results_.rows.push_back(std::move(row));
    progress_();
  }
}

}  // namespace

SuiteOutcome run_suite(const SuiteRequest& request, const Workshop& workshop,
                       const Snapshot& snapshot, SuiteResults& results,
                       const std::function<void()>& progress) {
  return SuiteRun(request, workshop, snapshot, results, progress).run();
}

}  // namespace nvfp4
