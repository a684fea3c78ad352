// SPDX-License-Identifier: Apache-2.0
// Limits and the merged list of tasks.
#include "tuner/plan.h"

#include <algorithm>
#include <string>
#include <utility>

#include "generator/config_text.h"

namespace nvfp4 {

Plan make_plan(const TuneRequest& request, const Device& device) {
  using std::chrono::seconds;
  const auto tokens = static_cast<int64_t>(request.tokens.size());
  const bool quick = request.effort == Effort::quick;
  Plan plan;
  if (device.emulated) {
    // Nothing is timed: the model ranks, and each finalist costs seconds in the interpreter.
    plan = {.candidates = 12, .enough = quick ? 1 : 3, .budget = seconds(40) * tokens};
  } else if (quick) {
    plan = {.candidates = 72,
            .finalists = 4,
            .probes = 1,
            .budget = seconds(12) + seconds(4) * (tokens - 1)};
  } else {
    plan = {.candidates = 160, .budget = seconds(60) + seconds(25) * tokens};
  }
  if (request.max_candidates > 0) plan.candidates = request.max_candidates;
  if (!request.configs.empty()) plan.enough = Plan().enough;
  if (request.budget) plan.budget = *request.budget;
  return plan;
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
  std::stable_partition(tasks.begin(), tasks.end(),
                        [](const Task& task) { return !task.candidate.suspect; });
  return tasks;
}

bool OpenTasks::done(int enough) const {
  return std::all_of(tasks.begin(), tasks.end(), [&](const Task& task) {
    return !task.candidate.suspect &&
           std::all_of(task.tokens.begin(), task.tokens.end(), [&](int64_t m) {
             const auto found = passed.find(m);
             return found != passed.end() && found->second >= enough;
           });
  });
}

OpenTasks open_tasks(std::span<const Task> tasks, const History& history,
                     std::span<const Policy> policies) {
  OpenTasks open;
  for (const Task& task : tasks) {
    Task rest{.candidate = task.candidate, .tokens = {}};
    for (int64_t m : task.tokens) {
      if (!history.settled(task.candidate.config, m, policies)) {
        rest.tokens.push_back(m);
        continue;
      }
      ++open.known;
      if (!history.failed(task.candidate.config)) ++open.passed[m];
    }
    if (!rest.tokens.empty()) open.tasks.push_back(std::move(rest));
  }
  return open;
}

}  // namespace nvfp4
