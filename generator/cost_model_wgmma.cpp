// SPDX-License-Identifier: Apache-2.0
// The slowest of five streams over the busiest SM, and what nothing overlaps: the first loads, the
// epilogue, the exchange of sums within a cluster.
#include "generator/cost_model_wgmma.h"

#include <algorithm>
#include <cmath>

#include "generator/launch_plan.h"
#include "generator/occupancy.h"

namespace nvfp4 {
namespace {

constexpr double kDramEfficiency = 0.90;
constexpr double kMemoryLatency = 0.9e-6;   // s: bytes in flight / this bounds the bandwidth
constexpr double kL2BytesPerSmCycle = 24;   // what L2 gives when all SMs ask
constexpr double kDecodeInstructions = 21;  // per 16 x 16 fragment, with its share of the loop
constexpr double kFp16Instructions = 4;
constexpr double kWarpIssue = 0.30;         // issue slots a cycle that one warp can fill
constexpr double kMinTensorCycles = 16;     // of one 64 x n x 16 step, however small n
constexpr double kLaunch = 3.0e-6;
constexpr double kLaunchPdl = 2.2e-6;
constexpr double kLeak = 0.08;              // of what the slowest stream should hide
constexpr double kClusterSync = 0.7e-6;     // a sum through distributed shared memory
constexpr double kClusterLaunch = 1.5e-6;   // start and end of clusters, against single CTAs
constexpr double kChainCycles = 230;        // a warpgroup's way through one 64 x 64 tile, wgmma aside
constexpr double kStageCycles = 90;         // its wait for a stage
constexpr double kEpilogueCyclesPerRow = 3; // of one 16-row x 8-token fragment column

}  // namespace

CostEstimate estimate_wgmma(const KernelConfig& config, const Problem& problem, int64_t m,
                            const Device& device) {
  const LaunchPlan plan = launch_plan(config, problem, m, device);
  const double clock = device.clock_hz * 0.886;
  const double clusters = double(plan.grid) / plan.cluster;
  const double rows = double(config.block_n) * config.cluster_n;
  const double tiles = std::ceil(double(problem.n) / rows) * plan.tiles_m;
  const double rounds = std::ceil(tiles / clusters);
  const double resident = std::max(1.0, std::ceil(double(plan.grid) / device.sm_count));
  const double active = std::min<double>(device.sm_count, double(plan.grid));
  const double steps = std::ceil(double(problem.k) / config.block_k);
  const double k_tiles = std::ceil(steps / config.cluster_k) * k_tiles_per_stage(config);
  const double row_tiles = config.block_n / 64.0;
  const double work = rounds * resident * k_tiles;  // 64-wide k tiles that the busiest SM runs

  const double weights = double(packed_bytes(problem.n, problem.k));
  const double tokens = std::min<double>(double(m), config.block_m);
  const double in_flight = resident * (config.num_stages - 1) * k_tiles_per_stage(config) *
                           row_tiles * 2304 * active;
  const double bandwidth =
      std::min(device.memory_bandwidth * kDramEfficiency, in_flight / kMemoryLatency);
  const double memory = weights / bandwidth;

  const double l2_bytes = work * (row_tiles * 2304 + tokens * 128 / config.cluster_n);
  const double l2 = l2_bytes / (kL2BytesPerSmCycle * clock);

  const double decode =
      kDecodeInstructions + (config.act == Activation::fp16 ? kFp16Instructions : 0);
  const double slots = std::min(4.0, warps(config) * resident * kWarpIssue);
  const double issue = work * row_tiles * 16 * decode / (slots * clock);

  const double step_cycles = std::max(kMinTensorCycles, config.block_m / 2.0);
  const double per_sm = device.tensor_flops / (device.sm_count * device.clock_hz) /
                        (989.4e12 / (132 * 1.98e9));
  const double tensor = work * row_tiles * 4 * step_cycles / (clock * per_sm);

  // One warpgroup decodes and multiplies in turn; others fill the gaps, it cannot.
  const double group_tiles = rounds * k_tiles / config.warps_k;
  const double chain =
      (group_tiles * units_per_warp(config) * (kChainCycles + 2 * step_cycles) +
       group_tiles / k_tiles_per_stage(config) * kStageCycles) / clock;

  const double turned = tokens / 8 * row_tiles * 4 * kEpilogueCyclesPerRow * 8 * resident;
  double fixed = (config.pdl ? kLaunchPdl : kLaunch) + turned / clock;
  if (plan.cluster > 1) fixed += kClusterLaunch;
  if (reduces_in_smem(config)) {
    const double bytes = 2.0 * config.warps_k * tokens * config.block_n * 4;
    fixed += (config.cluster_k > 1 ? kClusterSync : kClusterSync / 3) + bytes / (64 * clock);
  }

  const struct {
    double seconds;
    std::string_view name;
  } streams[] = {{memory, "memory"}, {l2, "l2"}, {issue, "issue"}, {tensor, "tensor"}, {chain, "issue"}};
  CostEstimate result{.seconds = 0, .bound = "latency"};
  double others = 0;
  for (const auto& stream : streams) {
    others += stream.seconds;
    if (stream.seconds > result.seconds) result = {stream.seconds, stream.name};
  }
  others -= result.seconds;
  const double busy = result.seconds + kLeak * others;
  if (fixed > busy) result.bound = "latency";
  result.seconds = busy + fixed;
  return result;
}

}  // namespace nvfp4
