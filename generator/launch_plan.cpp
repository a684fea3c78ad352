// SPDX-License-Identifier: Apache-2.0
#include "generator/launch_plan.h"

#include <algorithm>

namespace nvfp4 {
namespace {

// The wgmma family deals the tiles out to as many clusters as run at once: whole ones, and under
// stream-K a last piece of at least one tile's steps each, so that at most two clusters share a
// tile.
void plan_clusters(LaunchPlan& plan, const KernelConfig& config, const Problem& problem, int64_t m,
                   const Device& device) {
  const int64_t rows = int64_t{config.block_n} * config.cluster_n;
  plan.cluster = cluster_ctas(config);
  const int64_t tiles = (problem.n + rows - 1) / rows * plan.tiles_m;
  plan.grid = std::min(tiles, resident_clusters(config, device)) * plan.cluster;
  if (uses_workspace(config)) {
    plan.counter_bytes = (tiles * plan.cluster * warps(config) * 4 + 255) / 256 * 256;
    plan.workspace_bytes = plan.counter_bytes + 2 * plan.grid * partial_bytes(config);
  }
  plan.box_tokens = slice_tokens(config, static_cast<int>(m));
  plan.k = problem.k;
  plan.act = config.act;
}

}  // namespace

int64_t resident_clusters(const KernelConfig& config, const Device& device) {
  const int size = cluster_ctas(config);
  const int64_t sms = size <= 2 ? device.sm_count : int64_t{device.sm_count} * 10 / 11;
  return sms * config.ctas_per_sm / size;
}

LaunchPlan launch_plan(const KernelConfig& config, const Problem& problem, int64_t m,
                       const Device& device) {
  LaunchPlan plan;
  plan.threads = threads(config);
  plan.smem_bytes = smem_bytes(config);
  plan.tiles_n = static_cast<int>((problem.n + config.block_n - 1) / config.block_n);
  plan.tiles_m = static_cast<int>((m + config.block_m - 1) / config.block_m);
  if (problem.kind == ProblemKind::grouped) {
    // An expert with c tokens has at most 1 + (c - 1) / block_m tiles.
    const int64_t most = std::min(problem.experts, m);
    plan.tiles_m = static_cast<int>(most + (m - most) / config.block_m);
  }
  if (is_wgmma(config)) {
    plan_clusters(plan, config, problem, m, device);
    return plan;
  }
  const int64_t tiles = int64_t{plan.tiles_n} * plan.tiles_m;
  const int64_t steps = (problem.k + config.block_k - 1) / config.block_k;
  int64_t partials = 0;
  switch (config.schedule) {
    case Schedule::data_parallel:
      plan.grid = tiles;
      break;
    case Schedule::split_k:
      plan.grid = tiles * config.split_k;
      partials = config.split_k > 1 ? plan.grid : 0;
      break;
    case Schedule::stream_k:
      // At least one step a CTA; a CTA's range touches at most two tiles that others share.
      plan.grid = std::min<int64_t>(int64_t{device.sm_count} * config.ctas_per_sm, tiles * steps);
      partials = 2 * plan.grid;
      break;
  }
  if (uses_workspace(config)) {
    plan.counter_bytes = (tiles * 4 + 255) / 256 * 256;
    plan.workspace_bytes = plan.counter_bytes + partials * partial_bytes(config);
  }
  return plan;
}

}  // namespace nvfp4
