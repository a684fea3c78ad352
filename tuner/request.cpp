// SPDX-License-Identifier: Apache-2.0
// Checks that need the device, and defaults that depend on it.
#include "tuner/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>

#include "generator/config_text.h"
#include "generator/legality.h"
#include "generator/problem.h"
#include "tuner/memory_plan.h"

namespace nvfp4 {

Problem problem_of(const CommandLine& line, const Device& device) {
  return {.kind = line.experts > 0 ? ProblemKind::grouped : ProblemKind::dense,
          .n = line.n,
          .k = line.k,
          .act = line.act,
          .arch = device.arch,
          .experts = line.experts};
}

std::vector<Policy> policies_of(const CommandLine& line, const Device& device) {
  if (!line.policy) return device_policies(device);
  if (*line.policy == Policy::graph_pdl && device.arch.number() < 90) {
    throw UsageError(fmt::format("policy graph+pdl needs sm_90, not {}", sm_name(device.arch)));
  }
  return {*line.policy};
}

void check_configs(const CommandLine& line, const Device& device,
                   const std::vector<Policy>& policies) {
  const bool pdl = std::count(policies.begin(), policies.end(), Policy::graph_pdl) > 0;
  for (const KernelConfig& config : line.configs) {
    if (const std::optional<std::string> why =
            illegal_reason(config, problem_of(line, device), device)) {
      throw UsageError(fmt::format("config '{}': {}", config_text(config), *why));
    }
    if (pdl && !config.pdl) {
      throw UsageError(
          fmt::format("config '{}' lacks pdl=1, which policy graph+pdl needs: add "
                      "--policy graph or the field",
                      config_text(config)));
    }
  }
}

// Before hours of making test data that no memory holds.
void check_memory(const CommandLine& line, const Device& device) {
  for (const Shape& shape : line.shapes) {
    const int64_t bytes = packed_bytes(shape.n, shape.k) * std::max<int64_t>(line.experts, 1);
    if (device.memory_bytes == 0 || bytes <= device.memory_bytes) continue;
    throw UsageError(fmt::format("--shape {},{} takes {} of packed weights, the card has {}",
                                 shape.n, shape.k, bytes_text(bytes),
                                 bytes_text(device.memory_bytes)));
  }
}

TuneRequest tune_request(const CommandLine& line, const Device& device) {
  const std::vector<Policy> policies = policies_of(line, device);
  check_configs(line, device, policies);
  check_memory(line, device);
  return {.problem = problem_of(line, device),
          .tokens = line.tokens,
          .policies = policies,
          .effort = line.effort,
          .budget = line.budget,
          .max_candidates = line.max_candidates,
          .seed = line.seed,
          .force = line.force,
          .configs = line.configs,
          .command = line.text};
}

ExitCode exit_code(const TuneOutcome& outcome, size_t wanted) {
  if (outcome.end == RunEnd::stopped) return ExitCode::interrupted;
  if (outcome.choices.size() == wanted) return ExitCode::ok;
  const bool wrong =
      std::any_of(outcome.rows.begin(), outcome.rows.end(), [](const Measurement& row) {
        return row.verdict == Verdict::wrong || row.verdict == Verdict::nondeterministic ||
               row.verdict == Verdict::out_of_bounds;
      });
  return wrong ? ExitCode::wrong : ExitCode::failed;
}

}  // namespace nvfp4
