// SPDX-License-Identifier: Apache-2.0
// Estimates and shares.
#include "tuner/model_plan.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "tuner/plan.h"

namespace nvfp4 {
namespace {

// Seconds. On an emulated device (two cores, shapes up to 160 x 128): its workers start, then NVRTC
// and the whole gate run in the interpreter for each config that passes.
constexpr double kEmulatedStart = 0.6;
constexpr double kEmulatedConfig = 0.25;
// On a GPU candidates may take their budget. The finals of 8192 x 4096 took an H200 12 s for 13 Ms
// (2026-11-28), about this long for each of five configs; a run corrects the time that is left by
// its own pace.
constexpr double kFinalist = 0.18;

// Winners that stand: chosen from rows of this toolchain.
int count_known(const TuneRequest& request, const DeviceKey& key, const Toolchain& toolchain,
                TuningDb& database) {
  std::set<int64_t> ours;
  for (const Measurement& row : database.measurements(key, request.problem)) {
    if (row.toolchain == toolchain) ours.insert(row.id);
  }
  int known = 0;
  for (const Winner& winner : database.winners(key, request.problem)) {
    const auto wanted = [&](const auto& list, const auto& value) {
      return std::count(list.begin(), list.end(), value) > 0;
    };
    known += wanted(request.tokens, winner.m_tuned) && wanted(request.policies, winner.policy) &&
             ours.contains(winner.evidence);
  }
  return known;
}

}  // namespace

double estimated_seconds(const ModelShape& shape, const TuneRequest& request,
                         const Device& device) {
  const Plan plan = make_plan(request_for(request, shape), device);
  const auto count = static_cast<double>(request.tokens.size());
  const auto budget = std::chrono::duration<double>(plan.budget).count();
  if (device.emulated) {
    const double configs = std::min(plan.candidates, plan.patience.few.fewest);
    return std::min(budget, kEmulatedStart + count * configs * kEmulatedConfig);
  }
  const auto policies = static_cast<double>(request.policies.size());
  return budget + count * policies * (plan.finalists + 1) * kFinalist;
}

std::vector<size_t> share_of(std::span<const double> costs, const Shard& shard) {
  std::vector<size_t> order(costs.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return costs[a] > costs[b]; });
  std::vector<double> loads(static_cast<size_t>(shard.count));
  std::vector<size_t> mine;
  for (const size_t index : order) {
    const auto least = std::min_element(loads.begin(), loads.end());
    *least += costs[index];
    if (least - loads.begin() == shard.index - 1) mine.push_back(index);
  }
  std::sort(mine.begin(), mine.end());
  return mine;
}

bool has_work(const PlannedShape& planned) { return planned.known < planned.wanted; }

TuneRequest request_for(const TuneRequest& request, const ModelShape& shape) {
  TuneRequest one = request;
  one.problem.kind = shape.experts > 0 ? ProblemKind::grouped : ProblemKind::dense;
  one.problem.n = shape.n;
  one.problem.k = shape.k;
  one.problem.experts = shape.experts;
  for (int64_t& m : one.tokens) m *= shape.rows_per_token;
  return one;
}

ModelPlan make_model_plan(std::span<const ModelShape> shapes, const TuneRequest& request,
                          const Device& device, const Toolchain& toolchain, TuningDb& database,
                          const Shard& shard) {
  ModelPlan plan{.shapes = {}, .all_shapes = shapes.size()};
  std::vector<double> costs;
  for (const ModelShape& shape : shapes) {
    costs.push_back(estimated_seconds(shape, request, device));
  }
  for (const size_t index : share_of(costs, shard)) {
    PlannedShape planned{
        .shape = shapes[index],
        .wanted = static_cast<int>(request.tokens.size() * request.policies.size())};
    const TuneRequest one = request_for(request, planned.shape);
    if (!request.force) planned.known = count_known(one, key_of(device), toolchain, database);
    planned.seconds = costs[index] * (planned.wanted - planned.known) / planned.wanted;
    plan.seconds += planned.seconds;
    plan.shapes.push_back(std::move(planned));
  }
  return plan;
}

}  // namespace nvfp4
