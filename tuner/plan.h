// SPDX-License-Identifier: Apache-2.0
// How much a tuning run tries, and in which order over all its token counts. Pure.
#pragma once

#include <chrono>
#include <map>
#include <span>
#include <vector>

#include "generator/device.h"
#include "tuner/history.h"
#include "tuner/patience.h"
#include "tuner/search.h"
#include "tuner/tune.h"
#include "tuner/workshop.h"

namespace nvfp4 {

/// Limits of one run.
struct Plan {
  int candidates = 0;  ///< proposed for each M
  Patiences patience;
  int finalists = 8;  ///< of each M and policy
  int probes = 3;     ///< of a gap between two Ms: find where winners change to 1/2^probes of it
  std::chrono::milliseconds budget{0};  ///< for trying candidates
  bool once = false;  ///< where all winners stand, nothing more is tried, even if time ran out then
};

/// What the request asks for, completed by the effort: quick ends within 20 s at one M on 16 cores,
/// full within 5 minutes at eight.
Plan make_plan(const TuneRequest& request, const Device& device);

/// What of a search the request decides; what databases know is added to it.
SearchOptions search_options(const TuneRequest& request, const Device& device);

/// One task for each config of `lists` (candidates of tokens[i], best first): it is compiled once
/// for all Ms that want it. Ms take turns.
std::vector<Task> merge_tasks(std::span<const std::vector<Candidate>> lists,
                              std::span<const int64_t> tokens);

/// What is left to do of a list of tasks.
struct OpenTasks {
  std::vector<Task> tasks;           ///< without what `history` settles
  int known = 0;                     ///< (config, M) pairs that it settles
  std::map<int64_t, Trials> trials;  ///< of the past, by M

  /// Nothing is left that must be tried, and either `answered` or patience is at its end with
  /// every M that is still wanted.
  bool done(const Patiences& patience, bool answered) const;
};
OpenTasks open_tasks(std::span<const Task> tasks, const History& history,
                     std::span<const Policy> policies);

}  // namespace nvfp4
