// SPDX-License-Identifier: Apache-2.0
// A tuning request from problem to stored winner. tune.cpp is the file to read first.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tuner/command_line.h"
#include "tuner/jobs.h"
#include "tuner/workshop.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {

struct TuneRequest {
  Problem problem;
  std::vector<int64_t> tokens;   ///< ascending
  std::vector<Policy> policies;  ///< what winners are for
  Effort effort = Effort::full;
  std::optional<std::chrono::milliseconds> budget;  ///< for trying candidates; by effort when empty
  int max_candidates = 0;                           ///< for each M; 0: by effort
  uint64_t seed = 1;
  bool force = false;                 ///< measure again what is known
  std::vector<KernelConfig> configs;  ///< when not empty, try these only
  std::string command;                ///< reproduces the run, for its record
};

/// Kernels are built for dependent launches when a policy wants them: one build serves all.
bool built_for_pdl(const TuneRequest& request);

/// Whether a choice was made by this run or had been made before.
enum class Answer { measured, database };

/// The choice at one (M, policy).
struct Choice {
  Winner winner;
  Measurement evidence;
  Answer answer = Answer::measured;
};

struct TuneOutcome {
  std::vector<Choice> choices;    ///< by M, then policy
  Ceilings ceilings;              ///< all zero when nothing had to run
  std::vector<Measurement> rows;  ///< measured by this run, failures too
  RunEnd end = RunEnd::complete;
  int known = 0;  ///< outcomes that the database already had
};

/// The policies a device can serve: graph, and graph+pdl where dependent launches exist.
std::vector<Policy> device_policies(const Device& device);

/// Runs the request. Rows and winners are in `db` as soon as they exist, so that nothing is lost
/// when the run ends early.
TuneOutcome tune(const TuneRequest& request, const Workshop& workshop, TuningDb& db);

}  // namespace nvfp4
