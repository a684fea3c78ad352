// SPDX-License-Identifier: Apache-2.0
// Three candidates through the pipeline, the second of which a test makes fail: what became of
// each, and whether the run went on.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "generator/config_text.h"
#include "tuner/card_claim.h"
#include "tuner/pipeline.h"

namespace nvfp4 {

// In the order in which they are tried.
inline const std::string kBefore = "family=mma,act=bf16,block_m=8,warps_k=1";
inline const std::string kCulprit = "family=mma,act=bf16,block_m=8,warps_k=2";
inline const std::string kAfter = "family=mma,act=bf16,block_m=8";

struct ThreeOutcomes {
  std::map<std::string, std::vector<Measurement>> rows;  ///< by config
  RunEnd end = RunEnd::complete;
  std::string error;  ///< of the card

  /// The verdict of a config that has the rows it should have: one a policy when it passed, else
  /// one.
  std::string verdict(const std::string& config, size_t policies = 1) const {
    const auto found = rows.find(config);
    if (found == rows.end()) return "no row";
    const Verdict verdict = found->second.front().verdict;
    const size_t wanted = verdict == Verdict::ok ? policies : 1;
    return found->second.size() == wanted ? std::string(name(verdict)) : "too many rows";
  }
  std::string text(const std::string& config) const {
    const auto found = rows.find(config);
    return found == rows.end() ? "" : found->second.front().text;
  }
};

inline ThreeOutcomes try_three(const Workshop& workshop, const Problem& problem, int64_t m,
                               const std::vector<Policy>& policies) {
  ThreeOutcomes outcomes;
  const auto keep = [&](const std::vector<Measurement>& rows) {
    for (const Measurement& row : rows) {
      outcomes.rows[config_text(row.kernel.config)].push_back(row);
    }
  };
  const auto ignore = [](const KernelConfig&) {};
  std::vector<Task> tasks;
  for (const std::string& text : {kBefore, kCulprit, kAfter}) {
    tasks.push_back({.candidate = {.config = *parse_config(text)}, .tokens = {m}});
  }
  Pipeline pipeline(workshop, problem, policies, m, 1,
                    {.started = ignore, .measured = keep, .finished = ignore});
  try {
    const auto deadline = Pipeline::Clock::now() + std::chrono::minutes(10);
    outcomes.end = pipeline.run(tasks, deadline);
  } catch (const CardError& error) {
    outcomes.error = error.what();
  }
  return outcomes;
}

}  // namespace nvfp4
