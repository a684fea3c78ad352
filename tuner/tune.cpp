// SPDX-License-Identifier: Apache-2.0
// The file to read first: what happens between a command line and a stored winner.
//
//   candidates (search, plan)  ->  compile, gate, coarse time (pipeline: worker processes)  -> rows
//   leaders of each M          ->  full gate, interleaved rounds (pipeline)                 -> rows
//   rows (choice)              ->  winner of each M and policy, and its interval of M       ->
//   winners
#include "tuner/tune.h"

#include <algorithm>
#include <utility>

#include "generator/candidate_space.h"
#include "generator/cost_model.h"
#include "generator/template_bundle.h"
#include "tuner/choice.h"
#include "tuner/history.h"
#include "tuner/pipeline.h"
#include "tuner/plan.h"
#include "tuner/run_facts.h"
#include "tuner/statistics.h"

namespace nvfp4 {
namespace {

constexpr int kSeries = 2;         // of finals, when the first is too noisy
constexpr int kVerifications = 3;  // of a winner

/// One run of the tuner.
class Tuning {
 public:
  Tuning(const TuneRequest& request, const Workshop& workshop, TuningDb& db)
      : request_(request),
        workshop_(workshop),
        db_(db),
        device_(workshop.gpu.facts()),
        key_(key_of(device_)),
        toolchain_{.nvrtc = workshop.compiler.version(),
                   .driver = driver_name(workshop.gpu.driver()),
                   .template_digest = template_digest()},
        history_(
            request.force ? std::vector<Measurement>() : db.measurements(key_, request.problem),
            toolchain_),
        pipeline_(workshop, request.problem, request.policies, request.tokens.back(), request.seed,
                  listener()) {}

  TuneOutcome run() {
    readmit_rows();
    try_candidates();
    prepare_finals();
    for (Policy policy : request_.policies) {
      std::vector<Choice> choices;
      for (int64_t m : request_.tokens) {
        if (std::optional<Choice> choice = choose(m, policy)) choices.push_back(std::move(*choice));
      }
      store(policy, choices);
    }
    if (workshop_.stopped()) outcome_.end = RunEnd::stopped;
    std::stable_sort(outcome_.choices.begin(), outcome_.choices.end(),
                     [](auto& a, auto& b) { return a.winner.m_tuned < b.winner.m_tuned; });
    return std::move(outcome_);
  }

 private:
  Listener listener();
  int64_t run_id();
  void record(std::vector<Measurement> rows);
  SearchOptions search_options(int64_t m, std::span<const Winner> stored);
  void readmit_rows();
  void try_candidates();
  void prepare_finals();
  std::vector<Measurement> finalists(int64_t m, Policy policy) const;
  std::optional<Choice> choose(int64_t m, Policy policy);
  std::optional<Choice> known_choice(int64_t m, Policy policy);
  bool chosen(int64_t m);
  std::vector<Measurement> finals(int64_t m, Policy policy,
                                  const std::vector<KernelConfig>& configs);
  Winner verified(Winner winner, const KernelConfig& fallback);
  void store(Policy policy, std::vector<Choice>& choices);

  KernelConfig default_kernel(int64_t m) const {
    KernelConfig config = default_config(request_.problem, m, device_);
    config.pdl = built_for_pdl(request_);
    return config;
  }

  const TuneRequest& request_;
  const Workshop& workshop_;
  TuningDb& db_;
  const Device& device_;
  DeviceKey key_;
  Toolchain toolchain_;
  History history_;
  std::vector<Suspect> suspects_;  // what has ended workers or tuners before
  std::optional<int64_t> run_;
  TuneOutcome outcome_;
  Pipeline pipeline_;
};

// The run's record is made when it first has something to say; the ceilings are known by then.
int64_t Tuning::run_id() {
  if (run_) return *run_;
  const Ceilings& ceilings = pipeline_.ceilings(request_.tokens.back());
  run_ = db_.add_run({.device = key_,
                      .device_name = device_.name,
                      .toolchain = toolchain_,
                      .command = request_.command,
                      .date = utc_now(),
                      .seed = request_.seed,
                      .purpose = Purpose::tune,
                      .source_commit = build_commit() == "unknown" ? "" : build_commit(),
                      .driver_release = driver_release(workshop_.gpu.driver()),
                      .stream_gbps = ceilings.stream_bytes_per_s * 1e-9,
                      .tensor_tflops = ceilings.tensor_flops * 1e-12});
  return *run_;
}

// Everything that happens goes into the database before the next thing happens.
Listener Tuning::listener() {
  const auto started = [this](const KernelConfig& config) {
    db_.start(run_id(), request_.problem, config);
  };
  const auto measured = [this](const std::vector<Measurement>& rows) { record(rows); };
  const auto finished = [this](const KernelConfig& config) {
    db_.finish(run_id(), request_.problem, config);
  };
  return {.started = started, .measured = measured, .finished = finished};
}

void Tuning::record(std::vector<Measurement> rows) {
  if (!workshop_.disturbance.empty()) {
    for (Measurement& row : rows) row.text += "; not alone on the card: " + workshop_.disturbance;
  }
  const std::vector<int64_t> ids = db_.add(run_id(), rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].id = ids[i];
    rows[i].run = *run_;
    rows[i].device = key_;
    rows[i].toolchain = toolchain_;
    history_.add(rows[i]);
    outcome_.rows.push_back(std::move(rows[i]));
  }
}

SearchOptions Tuning::search_options(int64_t m, std::span<const Winner> stored) {
  SearchOptions options = nvfp4::search_options(request_, device_);
  options.suspects = suspects_;
  // An emulated device's winners are the model's own opinion.
  if (device_.emulated) return options;
  PastWinners past = past_winners(stored, key_, request_.problem, m, chosen(m));
  options.winners = std::move(past.winners);
  options.neighbours = std::move(past.neighbours);
  return options;
}

// Rows of another toolchain stand where this one makes the same machine code: only what differs is
// measured again.
void Tuning::readmit_rows() {
  const auto limit =
      static_cast<size_t>(make_plan(request_, device_).candidates) * request_.tokens.size();
  const std::vector<KernelConfig> configs = history_.waiting(request_.tokens, limit);
  if (configs.empty()) return;
  pipeline_.prepare(configs);
  for (const KernelConfig& config : configs) {
    if (const std::string code = pipeline_.built_code(config); !code.empty()) {
      history_.readmit(config, code);
    }
  }
}

void Tuning::try_candidates() {
  const Plan plan = make_plan(request_, device_);
  suspects_ = db_.suspects(key_, request_.problem);
  add_killers(suspects_, db_.measurements(key_, request_.problem));
  std::vector<std::vector<Candidate>> lists;
  const std::vector<Winner> stored = device_.emulated ? std::vector<Winner>() : db_.winners();
  for (int64_t m : request_.tokens) {
    lists.push_back(choose_candidates(request_.problem, m, device_, search_options(m, stored)));
  }
  std::vector<Task> tasks = merge_tasks(lists, request_.tokens);
  const Pipeline::Clock::time_point deadline = Pipeline::Clock::now() + plan.budget;
  OpenTasks open = open_tasks(tasks, history_, request_.policies);
  outcome_.known = open.known;
  const bool answered = plan.once && std::all_of(request_.tokens.begin(), request_.tokens.end(),
                                                 [&](int64_t m) { return chosen(m); });
  if (open.done(plan.patience, answered)) return;
  const auto suspect = [](const Task& task) { return task.candidate.suspect; };
  if (std::any_of(open.tasks.begin(), open.tasks.end(), suspect)) {
    // The others first; a suspect keeps its place among them, as if nothing had happened.
    for (const Task& task : open.tasks) {
      if (!suspect(task)) continue;
      for (int64_t m : task.tokens) open.trials[m].reserve();
    }
    std::erase_if(open.tasks, suspect);
    outcome_.end = pipeline_.run(open.tasks, deadline, plan.patience, open.trials);
    std::stable_partition(tasks.begin(), tasks.end(), suspect);
    open = open_tasks(tasks, history_, request_.policies);
  }
  if (outcome_.end == RunEnd::complete) {
    outcome_.end = pipeline_.run(open.tasks, deadline, plan.patience, open.trials);
  }
  outcome_.ceilings = pipeline_.ceilings(request_.tokens.back());
}

// The stored winner still stands when its machine code is what would run now and no row of a later
// run competes with it.
std::optional<Choice> Tuning::known_choice(int64_t m, Policy policy) {
  const std::vector<const Measurement*> rivals = history_.ranking(m, policy);
  for (Winner& winner : db_.winners(key_, request_.problem)) {
    if (winner.m_tuned != m || winner.policy != policy) continue;
    if (winner.origin == WinnerOrigin::imported) continue;
    const Measurement* evidence = history_.find(winner.evidence);
    if (evidence == nullptr) continue;
    // Finals are rows of the run that chose. Without a clock there are none: a rival may be younger
    // than the winner and have lost to it, in a run that was killed and went on.
    const bool stale = std::any_of(rivals.begin(), rivals.end(), [&](const Measurement* row) {
      const bool beaten = device_.emulated && row->timing.median_us >= evidence->timing.median_us;
      return row->run > evidence->run && !beaten;
    });
    if (!stale) return Choice{std::move(winner), *evidence, Answer::database};
  }
  return std::nullopt;
}

bool Tuning::chosen(int64_t m) {
  return std::all_of(request_.policies.begin(), request_.policies.end(),
                     [&](Policy policy) { return known_choice(m, policy).has_value(); });
}

// Rows of the finals, stored; only those that passed. Empty when the user wants to stop.
std::vector<Measurement> Tuning::finals(int64_t m, Policy policy,
                                        const std::vector<KernelConfig>& configs) {
  std::vector<Measurement> passed;
  if (configs.empty()) return passed;
  outcome_.ceilings = pipeline_.ceilings(request_.tokens.back());
  for (int i = 0; i < kSeries && passed.empty(); ++i) {
    const std::vector<Measurement> rows = pipeline_.finals(m, policy, configs);
    if (rows.empty()) return passed;
    const auto first = static_cast<std::ptrdiff_t>(outcome_.rows.size());
    listener().measured(rows);
    passed.assign(outcome_.rows.begin() + first, outcome_.rows.end());
    std::erase_if(passed, [](const Measurement& row) { return row.verdict != Verdict::ok; });
  }
  return passed;
}

// The leaders at M, best first. The default always takes part: a tuned choice must never lose to
// it.
std::vector<Measurement> Tuning::finalists(int64_t m, Policy policy) const {
  const KernelConfig fallback = default_kernel(m);
  const auto count = static_cast<size_t>(make_plan(request_, device_).finalists);
  std::vector<Measurement> rows;
  for (const Measurement* row : history_.ranking(m, policy)) {
    if (rows.size() < count || row->kernel.config == fallback) rows.push_back(*row);
  }
  return rows;
}

// A run that goes on without its cache has none of the leaders' kernels. With each compiled when its
// turn came, such finals of 13 Ms took 81 s, others 10 to 22 (6144 x 4096, H100 with 16 cores).
void Tuning::prepare_finals() {
  if (device_.emulated) return;
  std::vector<KernelConfig> configs;
  for (Policy policy : request_.policies) {
    for (int64_t m : request_.tokens) {
      if (known_choice(m, policy)) continue;
      for (const Measurement& row : finalists(m, policy)) {
        const KernelConfig& config = row.kernel.config;
        if (std::count(configs.begin(), configs.end(), config) == 0) configs.push_back(config);
      }
    }
  }
  pipeline_.prepare(configs);
}

std::optional<Choice> Tuning::choose(int64_t m, Policy policy) {
  if (workshop_.stopped()) return std::nullopt;
  if (std::optional<Choice> known = known_choice(m, policy)) return known;
  const KernelConfig fallback = default_kernel(m);
  std::vector<Measurement> rows = finalists(m, policy);
  if (!device_.emulated) {
    std::vector<KernelConfig> configs;
    for (const Measurement& row : rows) configs.push_back(row.kernel.config);
    rows = finals(m, policy, configs);
  }
  if (rows.empty()) return std::nullopt;
  Winner winner = choose_winner(rows, fallback);
  if (!device_.emulated) winner = verified(std::move(winner), fallback);
  return Choice{winner, *history_.find(winner.evidence), Answer::measured};
}

// One series may flatter a kernel: before it is stored, the winner meets its runner-up and the
// default again, until the same one has won twice in a row or the series are up.
Winner Tuning::verified(Winner winner, const KernelConfig& fallback) {
  for (int i = 0; i < kVerifications && winner.runner_up && !workshop_.stopped(); ++i) {
    std::vector<KernelConfig> configs = {winner.config, *winner.runner_up};
    const bool guarded = std::count(configs.begin(), configs.end(), fallback) > 0;
    if (!guarded && history_.passed(fallback, winner.m_tuned, winner.policy)) {
      configs.push_back(fallback);
    }
    const std::vector<Measurement> rows = finals(winner.m_tuned, winner.policy, configs);
    if (rows.size() != configs.size()) continue;  // too noisy to say anything
    Winner again = choose_winner(rows, fallback);
    const bool same = again.config == winner.config;
    winner = std::move(again);
    if (same) break;
  }
  return winner;
}

void Tuning::store(Policy policy, std::vector<Choice>& choices) {
  const bool known = std::all_of(choices.begin(), choices.end(), [](const Choice& choice) {
    return choice.answer == Answer::database;
  });
  std::vector<Winner> winners;
  for (const Choice& choice : choices) winners.push_back(choice.winner);
  if (!known) {
    join_intervals(winners, make_plan(request_, device_).probes,
                   [&](const KernelConfig& config, const KernelConfig& other,
                       int64_t m) -> std::optional<double> {
                     if (device_.emulated) {
                       return estimate(config, request_.problem, m, device_).seconds /
                              estimate(other, request_.problem, m, device_).seconds;
                     }
                     const std::vector<Measurement> rows = finals(m, policy, {config, other});
                     if (rows.size() != 2) return std::nullopt;
                     return paired_ratio(rows[0].samples_us, rows[1].samples_us);
                   });
    for (const Winner& winner : winners) db_.store(winner);
  }
  for (size_t i = 0; i < choices.size(); ++i) {
    choices[i].winner = winners[i];
    outcome_.choices.push_back(std::move(choices[i]));
  }
}

}  // namespace

std::vector<Policy> device_policies(const Device& device) {
  if (device.arch.number() >= 90) return {Policy::graph, Policy::graph_pdl};
  return {Policy::graph};
}

bool built_for_pdl(const TuneRequest& request) {
  return std::count(request.policies.begin(), request.policies.end(), Policy::graph_pdl) > 0;
}

TuneOutcome tune(const TuneRequest& request, const Workshop& workshop, TuningDb& db) {
  return Tuning(request, workshop, db).run();
}

}  // namespace nvfp4
