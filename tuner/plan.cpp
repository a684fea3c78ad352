// SPDX-License-Identifier: Apache-2.0
// Limits and the merged list of tasks.
#include "tuner/plan.h"

#include <algorithm>
#include <string>
#include <utility>

#include "generator/config_text.h"

namespace nvfp4 {
namespace {

// Of 412 (shape, M) of 31 shapes on an H200 this tries 85 % of what 48 and 24 tried and loses 0.01
// % to it (mean; 2.5 % at worst), of 72 of gemma-4-31b on an H100 as many and as little (0.9 %). 32
// and 16 would try 68 % and lose 0.02 and 0.12 %, but 4.5 % at worst. 48 and 24 had lost 0.3 % to
// all of 80 (mean; 2.7 % in the worst twentieth of 60 of the H100's).
//
// From 256 tokens on 16 and 16 lose what 40 and 24 lose: 0.02 % of 251 (shape, M) on an H200 and
// 0.09 of 71 on an H100 in the mean, the same cells at worst. They try 61 to 63 % as many, and
// those take longest. Of a grouped launch each expert has a share of the tokens.
constexpr Patiences kQuickPatience{.few = {.fewest = 40, .fruitless = 24},
                                   .many = {.fewest = 16, .fruitless = 16},
                                   .boundary = 256};

}  // namespace

Plan make_plan(const TuneRequest& request, const Device& device) {
  using std::chrono::seconds;
  const auto tokens = static_cast<int64_t>(request.tokens.size());
  const bool quick = request.effort == Effort::quick;
  Plan plan;
  if (device.emulated) {
    // Nothing is timed: the model ranks, and each finalist costs seconds in the interpreter.
    plan = {.candidates = 12,
            .patience = {.few = {.fewest = quick ? 1 : 3}},
            .budget = seconds(40) * tokens};
  } else if (quick) {
    plan = {.candidates = 72,
            .patience = kQuickPatience,
            .finalists = 4,
            .probes = 1,
            .budget = seconds(12) + seconds(4) * (tokens - 1)};
  } else {
    plan = {.candidates = 160, .budget = seconds(60) + seconds(25) * tokens};
  }
  plan.patience.boundary *= std::max<int64_t>(1, request.problem.experts);
  if (request.max_candidates > 0) plan.candidates = request.max_candidates;
  if (!request.configs.empty()) plan.patience = Patiences();
  if (request.budget) plan.budget = *request.budget;
  plan.once = quick && request.max_candidates == 0 && request.configs.empty() && !request.budget;
  return plan;
}

SearchOptions search_options(const TuneRequest& request, const Device& device) {
  return {.max_candidates = make_plan(request, device).candidates,
          .seed = request.seed,
          .pdl = built_for_pdl(request),
          .requested = request.configs};
}

std::vector<Task> merge_tasks(std::span<const std::vector<Candidate>> lists,
                              std::span<const int64_t> tokens) {
  size_t longest = 0;
  for (const std::vector<Candidate>& list : lists) longest = std::max(longest, list.size());
  std::vector<Task> tasks;
  std::map<std::string, size_t> index;
  for (size_t rank = 0; rank < longest; ++rank) {
    for (size_t i = 0; i < lists.size(); ++i) {
      if (rank >= lists[i].size()) continue;
      const Candidate& candidate = lists[i][rank];
      const auto [slot, added] = index.emplace(config_text(candidate.config), tasks.size());
      if (added) tasks.push_back({.candidate = candidate, .tokens = {}});
      tasks[slot->second].tokens.push_back(tokens[i]);
    }
  }
  for (Task& task : tasks) std::sort(task.tokens.begin(), task.tokens.end());
  return tasks;
}

bool OpenTasks::done(const Patiences& patience, bool answered) const {
  return std::all_of(tasks.begin(), tasks.end(), [&](const Task& task) {
    if (task.candidate.suspect || task.candidate.due()) return false;
    return answered || std::all_of(task.tokens.begin(), task.tokens.end(), [&](int64_t m) {
             return trials.at(m).wanted(patience.at(m)) == 0;
           });
  });
}

OpenTasks open_tasks(std::span<const Task> tasks, const History& history,
                     std::span<const Policy> policies) {
  OpenTasks open;
  for (const Task& task : tasks) {
    Task rest{.candidate = task.candidate, .tokens = {}};
    for (int64_t m : task.tokens) {
      if (!open.trials.contains(m)) open.trials.emplace(m, history.trials(m, policies));
      if (history.settled(task.candidate.config, m, policies)) {
        ++open.known;
      } else {
        rest.tokens.push_back(m);
      }
    }
    if (!rest.tokens.empty()) open.tasks.push_back(std::move(rest));
  }
  return open;
}

}  // namespace nvfp4
