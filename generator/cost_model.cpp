// SPDX-License-Identifier: Apache-2.0
// A kernel's time is the slowest of five streams over the busiest SM, plus the parts that nothing
// overlaps: filling the first pipeline, summing warp groups, and exchanging partials between CTAs.
// The constants were fitted to 400 cold measurements of the mma family on an H100 (four shapes, M =
// 1, 8, 16, 64); other parts scale them by clock, SM count and bandwidth.
#include "generator/cost_model.h"

#include <algorithm>
#include <cmath>

#include "generator/cost_model_wgmma.h"
#include "generator/launch_plan.h"
#include "generator/occupancy.h"

namespace nvfp4 {
namespace {

// Fitted on the H100 at 1.755 GHz under load; the rms error over the 400 rows is 15 %.
constexpr double kDramEfficiency = 0.88;    // of the data sheet's bandwidth
constexpr double kMemoryLatency = 0.66e-6;  // s: bytes in flight / this bounds the bandwidth
constexpr double kL2BytesPerSmCycle = 36;   // weights and activations on their way to an SM
constexpr double kDecodeInstructions = 20;  // per unit and k16 step: decode, scales, loads, address
constexpr double kFp16Instructions = 4;     // more of them for fp16 (counted, decode.cuh)
constexpr double kMmaIssue = 1.7;           // issue slots of one m16n8k16
constexpr double kStageInstructions = 82;   // per warp, stage and k tile: waits, loop, addresses
constexpr double kCopyInstructions = 2.5;   // per 512 bytes copied by a warp
// What mma.sync reaches of the tensor cores' peak. Hopper keeps the rest for wgmma (fitted: 10.5
// cycles a m16n8k16); before it, mma.sync is the only way in (assumed: no such card has been
// measured).
constexpr double kHopperMmaShare = 0.412;
constexpr double kMmaShare = 0.85;
constexpr double kMmaFlops = 2.0 * 16 * 8 * 16;
constexpr double kWarpIssue = 0.38;    // issue slots a cycle that one warp can fill
constexpr double kLaunch = 2.3e-6;     // launch, first loads, last stores
constexpr double kLaunchPdl = 1.5e-6;  // the same where launches overlap
constexpr double kLeak = 0.06;         // of what the slowest stream should hide
// Under PDL the next kernel's CTAs settle wherever this one's have left room, not where SMs are
// idle: with more room than CTAs, some SMs get two and others none.
constexpr double kCrowding = 0.41;
constexpr double kExchange = 3.0e-6;  // partials through the workspace: fence, atomic, re-read

struct Work {
  double ctas = 0;  // CTAs the busiest SM runs, one after the other or side by side
  double resident = 0;
  double active_sms = 0;
  double steps = 0;  // pipeline steps of one CTA
};

Work distribute(const KernelConfig& config, const Problem& problem, const LaunchPlan& plan,
                const Device& device) {
  Work w;
  w.resident = std::max(1, resident_ctas(config, device));
  const double slots = w.resident * device.sm_count;
  const double steps = std::ceil(static_cast<double>(problem.k) / config.block_k);
  const double full = std::floor(plan.grid / slots);
  const double rest = plan.grid - full * slots;
  w.ctas = full * w.resident + std::ceil(rest / device.sm_count);
  w.active_sms = std::min<double>(device.sm_count, static_cast<double>(plan.grid));
  w.steps = steps;
  if (config.schedule == Schedule::split_k) w.steps = std::ceil(steps / config.split_k);
  if (config.schedule == Schedule::stream_k) {
    w.steps = std::ceil(steps * plan.tiles_n * plan.tiles_m / plan.grid);
  }
  return w;
}

}  // namespace

CostEstimate estimate(const KernelConfig& config, const Problem& problem, int64_t m,
                      const Device& device) {
  if (is_wgmma(config)) return estimate_wgmma(config, problem, m, device);
  const LaunchPlan plan = launch_plan(config, problem, m, device);
  const Work work = distribute(config, problem, plan, device);
  const double tiles = double(plan.tiles_n) * plan.tiles_m;
  const double k_tiles = work.steps * k_tiles_per_stage(config);
  const int units = config.block_n / kUnitRows;
  const int token_tiles = config.block_m / kTokenTile;
  const double clock = device.clock_hz * 0.886;  // 1.755 of 1.98 GHz under tensor load

  // Memory: every weight once. The bytes in flight bound what few or shallow CTAs can draw.
  const double weights = static_cast<double>(packed_bytes(problem.n, problem.k));
  const double in_flight = std::min(work.resident, work.ctas) * config.warps_k *
                           (config.num_stages - 1) * k_tiles_per_stage(config) * units * 576.0 *
                           work.active_sms;
  const double bandwidth =
      std::min(device.memory_bandwidth * kDramEfficiency, in_flight / kMemoryLatency);
  const double memory = weights / bandwidth;

  // L2: weights plus the activations that every row of tiles reads again, on the busiest SM.
  const double tokens = std::min<double>(double(m), config.block_m);
  const double cta_bytes = k_tiles * (units * 576.0 + tokens * 128.0);
  const double l2 = work.ctas * cta_bytes / (kL2BytesPerSmCycle * clock);

  // Issue slots and tensor cores of the busiest SM; few warps cannot fill the slots.
  const double decode =
      kDecodeInstructions + (config.act == Activation::fp16 ? kFp16Instructions : 0);
  const double k16_steps = 4.0 * k_tiles;
  const double copies = units * 576.0 / 512 + config.block_m * 128.0 / 512;
  const double issue_cta =
      units * k16_steps * (decode + kMmaIssue * token_tiles) +
      config.warps_n * k16_steps * 0.5 * token_tiles +
      k_tiles * (kStageInstructions * config.warps_n + copies * kCopyInstructions);
  const double warps_side_by_side = std::min(work.resident, work.ctas) * warps(config);
  const double slots = std::min(4.0, warps_side_by_side * kWarpIssue);
  const double issue = work.ctas * issue_cta / (slots * clock);
  const double share = device.arch.major >= 9 ? kHopperMmaShare : kMmaShare;
  const double flops_a_cycle = device.tensor_flops / (device.sm_count * device.clock_hz) * share;
  const double tensor =
      work.ctas * units * k16_steps * token_tiles * kMmaFlops / flops_a_cycle / clock;

  // Nothing hides the sum over warp groups: shared memory moves 128 bytes a cycle.
  const double sum_bytes =
      2.0 * config.warps_k * std::min<double>(tokens, config.block_m) * config.block_n * 4;
  const double reduction = work.ctas / work.resident * sum_bytes / (128 * clock);
  double exchange = 0;
  if (uses_workspace(config)) {
    const double shares = config.schedule == Schedule::split_k ? config.split_k : 2;
    const double bytes = 2.0 * shares * tiles * tokens * config.block_n * 4;
    exchange = kExchange + bytes / (kL2BytesPerSmCycle * clock * device.sm_count);
  }

  const struct {
    double seconds;
    std::string_view name;
  } streams[] = {{memory, "memory"}, {l2, "l2"}, {issue, "issue"}, {tensor, "tensor"}};
  CostEstimate result{.seconds = 0, .bound = "latency"};
  double others = 0;
  for (const auto& stream : streams) {
    others += stream.seconds;
    if (stream.seconds > result.seconds) result = {stream.seconds, stream.name};
  }
  others -= result.seconds;
  const double fixed = (config.pdl ? kLaunchPdl : kLaunch) + reduction + exchange;
  const double needed = std::ceil(double(plan.grid) / device.sm_count);
  const double crowding = config.pdl && work.resident > needed ? kCrowding / needed : 0;
  const double busy = (result.seconds + kLeak * others) * (1 + crowding);
  if (fixed > busy) result.bound = "latency";
  result.seconds = busy + fixed;
  return result;
}

double roofline_seconds(const Problem& problem, int64_t m, const Device& device) {
  const double memory = packed_bytes(problem.n, problem.k) / device.memory_bandwidth;
  const double flops = 2.0 * double(m) * double(problem.n) * double(problem.k);
  return std::max(memory, flops / device.tensor_flops);
}

}  // namespace nvfp4
