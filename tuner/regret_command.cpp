// SPDX-License-Identifier: Apache-2.0
// Picks first, in fresh processes that know nothing of the sweep; then the sweep, whose rows stay
// in the database; last, picks and best against each other. A file keeps picks and sweeps, so that
// slices of a few minutes add up.
#include "tuner/regret_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "generator/candidate_space.h"
#include "generator/config_text.h"
#include "generator/cost_model.h"
#include "tuner/measure.h"
#include "tuner/pipeline.h"
#include "tuner/regret.h"
#include "tuner/rows.h"
#include "tuner/run_facts.h"
#include "tuner/session.h"
#include "tuner/statistics.h"
#include "tuner/sweep.h"
#include "tuner/table.h"
#include "tuner/tune.h"
#include "tuner/whole_file.h"

namespace nvfp4 {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMostBytes = size_t{64} << 20;       // of a saved file
constexpr auto kPickLimit = std::chrono::minutes(5);  // of one cell in a fresh process
constexpr auto kTick = std::chrono::milliseconds(200);

class Regret {
 public:
  Regret(const CommandLine& line, const Workshop& workshop, RegretResults& results, TuningDb& db)
      : line_(line),
        workshop_(workshop),
        results_(results),
        db_(db),
        policy_(parse_policy(results.policy).value()) {
    if (line.budget) deadline_ = Clock::now() + *line.budget;
  }

  /// True when every cell has its picks, its sweep and its judgement.
  bool run() {
    // The first one compiles what the others only load.
    if (results_.processes == 0 && !over()) picked("warming the cache of kernels");
    while (results_.processes < line_.processes && !over()) pick();
    for (RegretCell& cell : results_.cells) {
      if (line_.sweep > 0 && cell.best.empty() && !over()) sweep(cell);
    }
    bool complete = results_.processes >= line_.processes;
    for (RegretCell& cell : results_.cells) {
      if (line_.sweep > 0 && cell.best.empty()) complete = false;
      if (!cell.picks.empty() && !workshop_.stopped()) judge(cell);
    }
    return complete && !workshop_.stopped();
  }

 private:
  bool over() const { return workshop_.stopped() || Clock::now() > deadline_; }
  void keep() const {
    if (line_.save) replace_file(*line_.save, regret_text(results_));
  }
  Problem problem_of(const RegretCell& cell) const {
    return {.n = cell.target.shape.n,
            .k = cell.target.shape.k,
            .act = line_.act,
            .arch = workshop_.gpu.facts().arch};
  }

  std::optional<PickResult> picked(std::string_view stage) const;
  void pick();
  void sweep(RegretCell& cell);
  void judge(RegretCell& cell) const;

  const CommandLine& line_;
  const Workshop& workshop_;
  RegretResults& results_;
  TuningDb& db_;
  Policy policy_;
  Clock::time_point deadline_ = Clock::time_point::max();
};

// What one fresh process picks, for every cell; empty when stopped.
std::optional<PickResult> Regret::picked(std::string_view stage) const {
  PickJob job{.device = workshop_.device,
              .cache_directory = workshop_.cache_options.directory.string(),
              .cache_limit = workshop_.cache_options.size_limit,
              .jobs = workshop_.jobs,
              .act = line_.act,
              .policy = policy_,
              .effort = line_.effort,
              .seed = line_.seed};
  for (const RegretCell& cell : results_.cells) job.targets.push_back(cell.target);
  workshop_.progress.step(stage, static_cast<size_t>(results_.processes),
                          static_cast<size_t>(line_.processes), "");
  WorkerSet workers;
  const int role = workers.add_role(self_command("pick"), 1);
  workers.submit(role, 0, encode(job), kPickLimit * static_cast<int>(results_.cells.size()));
  std::optional<Completion> completion;
  while (!completion && !workshop_.stopped()) completion = workers.wait(kTick);
  if (!completion) return std::nullopt;
  if (completion->death) {
    throw MeasureError("a process that should pick kernels ended: " + completion->death->text);
  }
  PickResult result = decode_pick_result(*completion->reply);
  if (result.picks.size() != results_.cells.size()) throw MeasureError("a pick is missing");
  return result;
}

void Regret::pick() {
  const std::optional<PickResult> result = picked("fresh processes");
  if (!result) return;
  for (size_t i = 0; i < result->picks.size(); ++i) {
    results_.cells[i].picks.push_back(result->picks[i]);
  }
  ++results_.processes;
  keep();
}

// A tuning run over the sample and what was picked: its finals find the best.
void Regret::sweep(RegretCell& cell) {
  const Device& device = workshop_.gpu.facts();
  const Problem problem = problem_of(cell);
  const auto space = candidates(problem, cell.target.m, device);
  const auto wanted = static_cast<size_t>(line_.sweep);
  TuneRequest request{
      .problem = problem,
      .tokens = {cell.target.m},
      .policies = {policy_},
      .budget = std::chrono::hours(24),
      .seed = line_.seed,
      .configs = stratified_sample({space.data(), space.size()}, wanted, line_.seed),
      .command = line_.text};
  request.configs.push_back(default_config(problem, cell.target.m, device));
  for (const Pick& pick : cell.picks) {
    if (const auto config = parse_config(pick.config)) request.configs.push_back(*config);
  }
  for (KernelConfig& config : request.configs) config.pdl = policy_ == Policy::graph_pdl;
  if (deadline_ != Clock::time_point::max()) {
    const auto left = deadline_ - Clock::now();
    request.budget = std::chrono::duration_cast<std::chrono::milliseconds>(left);
  }
  const TuneOutcome outcome = tune(request, workshop_, db_);
  if (outcome.end != RunEnd::complete || outcome.choices.empty()) return;
  cell.best = config_text(outcome.choices.front().winner.config);
  std::set<std::string> passed;
  for (const Measurement& row : db_.measurements(key_of(device), problem)) {
    const bool here = row.m == cell.target.m && row.policy == policy_ && row.verdict == Verdict::ok;
    if (here) passed.insert(config_text(row.kernel.config));
  }
  cell.swept = static_cast<int>(passed.size());
  keep();
}

// All that was picked, and the best, in one series; modelled on an emulated device.
void Regret::judge(RegretCell& cell) const {
  std::set<std::string> texts;
  for (const Pick& pick : cell.picks) texts.insert(pick.config);
  texts.insert(cell.best);
  texts.erase("");
  std::vector<KernelConfig> configs;
  for (const std::string& text : texts) {
    if (const auto config = parse_config(text)) configs.push_back(*config);
  }
  const Problem problem = problem_of(cell);
  if (workshop_.gpu.emulated()) {
    for (const KernelConfig& config : configs) {
      const Timing timing = modelled_timing(config, problem, cell.target.m, policy_,
                                            workshop_.gpu.facts(), Ceilings{});
      cell.us[config_text(config)] = timing.median_us;
    }
  } else {
    const auto ignore = [](const KernelConfig&) {};
    Pipeline pipeline(workshop_, problem, {policy_}, cell.target.m, line_.seed,
                      {.started = ignore, .measured = [](auto&) {}, .finished = ignore});
    std::vector<Measurement> rows = pipeline.finals(cell.target.m, policy_, configs);
    std::erase_if(rows, [](const Measurement& row) { return row.verdict != Verdict::ok; });
    if (rows.empty()) return;
    for (const Measurement& row : rows) {
      const std::string text = config_text(row.kernel.config);
      cell.us[text] = row.timing.median_us;
      cell.ratio[text] = paired_ratio(row.samples_us, rows.front().samples_us);
    }
  }
  if (cell.ratio.empty()) cell.ratio = cell.us;
  double least = cell.ratio.begin()->second;
  for (const auto& [text, ratio] : cell.ratio) least = std::min(least, ratio);
  for (auto& [text, ratio] : cell.ratio) ratio /= least;
}

// Goes on from what the same question has left in its file.
void resume(RegretResults& results, const CommandLine& line, const Terminal& terminal) {
  std::optional<RegretResults> old;
  try {
    const std::string text = read_file(*line.save, kMostBytes);
    if (text.empty()) return;
    old = parse_regret(text);
  } catch (const FileError&) {
    return;  // not there yet
  }
  if (!old || !same_question(*old, results)) {
    if (line.force) return;
    throw UsageError(fmt::format("'{}' answers another question: --force replaces it", *line.save));
  }
  results = std::move(*old);
  const auto swept = std::count_if(results.cells.begin(), results.cells.end(),
                                   [](const RegretCell& cell) { return !cell.best.empty(); });
  warn(terminal, fmt::format("going on from {} processes and {} sweeps in {}", results.processes,
                             swept, *line.save));
}

}  // namespace

Answered run_regret(const CommandLine& line, const Terminal& terminal) {
  if (line.save) check_replaceable(*line.save);
  const Gpu gpu = open_gpu(line, terminal);
  const Policy policy = line.policy.value_or(device_policies(gpu.facts()).back());
  if (policy == Policy::graph_pdl && gpu.facts().arch.number() < 90) {
    throw UsageError(
        fmt::format("policy graph+pdl needs sm_90, not {}", sm_name(gpu.facts().arch)));
  }
  const OpenWorkshop workshop(line, gpu, terminal);
  const std::string path = user_database(line, terminal);
  TuningDb db(path, path.empty() ? Access::memory : Access::read_write);
  RegretResults results{.card = gpu.facts().name,
                        .driver = driver_release(gpu.driver()),
                        .nvrtc = workshop->compiler.version(),
                        .commit = build_commit(),
                        .act = std::string(name(line.act)),
                        .policy = std::string(name(policy)),
                        .effort = line.effort == Effort::quick ? "quick" : "full",
                        .seed = line.seed,
                        .sweep = line.sweep,
                        .modelled = gpu.emulated()};
  for (const Shape& shape : line.shapes) {
    for (int64_t m : line.tokens) results.cells.push_back({.target = {.shape = shape, .m = m}});
  }
  if (line.save) resume(results, line, terminal);
  const bool complete = Regret(line, *workshop, results, db).run();
  workshop->progress.clear();
  for (const std::string& warning : db.warnings()) warn(terminal, warning);
  Answered answered{.text = render(regret_table(results), line.format)};
  if (complete) return answered;
  answered.code = terminal.interrupted() ? ExitCode::interrupted : ExitCode::failed;
  warn(terminal, line.save ? "not complete: the same command goes on from its file"
                           : "not complete: --save would keep what there is");
  return answered;
}

}  // namespace nvfp4
