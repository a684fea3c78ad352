// SPDX-License-Identifier: Apache-2.0
// The head of the run's own list.
#include "tuner/forecast.h"

#include <map>
#include <utility>

#include "generator/emit.h"
#include "tuner/gate.h"
#include "tuner/plan.h"

namespace nvfp4 {

Forecast::Forecast(TuneRequest request, const Device& device)
    : request_(std::move(request)), device_(device) {}

void Forecast::list() {
  listed_ = true;
  const Problem& problem = request_.problem;
  const Patiences patience = make_plan(request_, device_).patience;
  std::vector<std::vector<Candidate>> lists;
  for (int64_t m : request_.tokens) {
    lists.push_back(choose_candidates(problem, m, device_, search_options(request_, device_)));
  }
  std::map<int64_t, int> expected;
  for (const Task& task : merge_tasks(lists, request_.tokens)) {
    int64_t largest = 0;
    for (int64_t m : task.tokens) {
      if (!task.candidate.due() && expected[m] >= patience.at(m).fewest) continue;
      ++expected[m];
      largest = m;
    }
    if (largest == 0) continue;
    const KernelConfig& config = task.candidate.config;
    kernels_.push_back({config, problem.n});
    const int64_t gated = gate_rows(config, problem, largest, device_);
    if (gated != problem.n) kernels_.push_back({config, gated});
  }
}

std::optional<std::string> Forecast::next() {
  if (!listed_) list();
  if (at_ == kernels_.size()) return std::nullopt;
  const Kernel& kernel = kernels_[at_++];
  Problem problem = request_.problem;
  problem.n = kernel.n;
  return emit_source(kernel.config, problem);
}

}  // namespace nvfp4
