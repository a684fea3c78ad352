// SPDX-License-Identifier: Apache-2.0
// What the busiest SM does, beside memory and L2: a scheduler's warps decode 16-row units of
// weights and multiply them by their token tiles, and the more warps there are, the better one
// hides behind the other. Nothing hides the ends: filling the first pipeline, summing warp groups,
// and exchanging partials between CTAs.
//
// The constants were fitted to 1433 cold measurements of the mma family under PDL on an H100 (four
// shapes, M = 1 .. 128): rms error 9 % weighted towards the fast configs, 11 % over all; the true
// best is among the model's first 16 in all 24 (shape, M), and the best of its first four is 1 %
// slower on average. Other parts scale them by clock, SM count and bandwidth.
#include "generator/cost_model.h"

#include <algorithm>
#include <cmath>

#include "generator/cost_model_wgmma.h"
#include "generator/launch_plan.h"
#include "generator/occupancy.h"
#include "generator/power_norm.h"

namespace nvfp4 {
namespace {

constexpr double kClockShare = 0.95;         // of the boost clock, under load
constexpr double kDramEfficiency = 0.964;    // of the data sheet's bandwidth, in a long stream
constexpr double kMemoryLatency = 0.683e-6;  // s: bytes in flight / this bounds the bandwidth
constexpr double kL2BytesPerSmCycle = 64;  // of an SM's port: nowhere near it in what was measured
constexpr double kDecodeCycles = 27;       // of one unit and k16 step
constexpr double kFp16DecodeCycles = 4;    // more: instructions counted in decode.cuh
// What mma.sync reaches of the tensor cores' peak: on Hopper 7.5 cycles a m16n8k16 in these
// kernels, 6.2 in a loop of nothing else, 4.3 at the peak, which is wgmma's. Before Hopper mma.sync
// is the only way in (assumed: no such card has been measured).
constexpr double kHopperMmaShare = 0.58;
constexpr double kMmaShare = 0.85;
constexpr double kMmaFlops = 2.0 * 16 * 8 * 16;
constexpr double kOverlapNorm = 2.84;     // of decode and mma, among many warps
constexpr double kLoneWarps = 0.696;      // power of 1 / warps by which they add up instead
constexpr double kFragmentCycles = 4.46;  // one ldmatrix of a warp
constexpr double kCopyCycles = 4.39;      // 512 bytes copied by a warp
constexpr double kStageCycles = 211;      // of a warp, waiting for one stage
constexpr double kBusyNorm = 4.42;        // of memory, L2 and the schedulers
constexpr double kLaunchPdl = 1.395e-6;   // start, first loads, last stores where launches overlap
constexpr double kLaunch = 2.7e-6;        // and where they do not; not part of the fit
// Under PDL the next kernel's CTAs settle wherever this one's have left room, not where SMs are
// idle: with more room than CTAs, some SMs get two and others none.
constexpr double kCrowding = 0.577;
constexpr double kReductionPasses = 2.48;  // over the warp groups' sums, written and read
constexpr double kExchangeBytesPerSmCycle = 36;
constexpr double kExchange = 2.23e-6;  // partials through the workspace: fence, atomic, re-read
constexpr double kStreamExchange = 4.64e-6;  // of which stream-K has two in a row
constexpr double kStreamShare = 0.043;       // and it starts a pipeline in mid-tile

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
  if (problem.kind == ProblemKind::grouped) {
    const DenseProduct product = dense_product(problem, m);
    return estimate(config, product.problem, product.m, device);
  }
  if (is_wgmma(config)) return estimate_wgmma(config, problem, m, device);
  const LaunchPlan plan = launch_plan(config, problem, m, device);
  const Work work = distribute(config, problem, plan, device);
  const double tiles = double(plan.tiles_n) * plan.tiles_m;
  const double k_tiles = work.steps * k_tiles_per_stage(config);
  const int units = config.block_n / kUnitRows;
  const int token_tiles = config.block_m / kTokenTile;
  const double clock = device.clock_hz * kClockShare;
  const double side_by_side = std::min(work.resident, work.ctas);

  // Memory: every weight once. The bytes in flight bound what few or shallow CTAs can draw.
  const double weights = static_cast<double>(packed_bytes(problem.n, problem.k));
  const double in_flight = side_by_side * config.warps_k * (config.num_stages - 1) *
                           k_tiles_per_stage(config) * units * 576.0 * work.active_sms;
  const double memory =
      weights / std::min(device.memory_bandwidth * kDramEfficiency, in_flight / kMemoryLatency);

  // L2: weights plus the activations that every row of tiles reads again, on the busiest SM.
  const double tokens = std::min<double>(double(m), config.block_m);
  const double cta_bytes = k_tiles * (units * 576.0 + tokens * 128.0);
  const double l2 = work.ctas * cta_bytes / (kL2BytesPerSmCycle * clock);

  // A scheduler, one of four: units, fragments and copies of its warps, and one warp's waiting.
  const double share = device.arch.major >= 9 ? kHopperMmaShare : kMmaShare;
  const double flops_a_cycle =
      device.tensor_flops / (device.sm_count * device.clock_hz) / 4 * share;
  const double decode = kDecodeCycles + (config.act == Activation::fp16 ? kFp16DecodeCycles : 0);
  const double mma = token_tiles * kMmaFlops / flops_a_cycle;
  const double scheduler_warps = side_by_side * warps(config) / 4;
  const double lone = std::min(1.0, std::pow(scheduler_warps, -kLoneWarps));
  const double hidden = power_norm(kOverlapNorm, {decode, mma});
  const double unit = hidden + (decode + mma - hidden) * lone;
  const double copies = (units * 576.0 + config.block_m * 128.0) / 512;
  const double cta_cycles =
      k_tiles * (4 * units * unit + 2.0 * config.warps_n * token_tiles * kFragmentCycles +
                 copies * kCopyCycles);
  const double idle = std::max(1.0, 1 / scheduler_warps);
  const double waiting = work.ctas / side_by_side * work.steps / config.warps_k * kStageCycles;
  const double schedulers = (work.ctas * cta_cycles / 4 * idle + waiting) / clock;

  // Nothing hides the sum over warp groups: shared memory moves 128 bytes a cycle.
  const double sum_bytes = 2.0 * config.warps_k * tokens * config.block_n * 4;
  const double reduction = work.ctas / work.resident * kReductionPasses * sum_bytes / (128 * clock);
  double exchange = 0;
  if (uses_workspace(config)) {
    const bool stream = config.schedule == Schedule::stream_k;
    const double shares = stream ? 2 : config.split_k;
    const double bytes = 2.0 * shares * tiles * tokens * config.block_n * 4;
    exchange = (stream ? kStreamExchange : kExchange) +
               bytes / (kExchangeBytesPerSmCycle * clock * device.sm_count);
  }

  const double needed = std::ceil(double(plan.grid) / device.sm_count);
  const double crowding = config.pdl && work.resident > needed ? kCrowding / needed : 0;
  const double stream = config.schedule == Schedule::stream_k ? kStreamShare : 0;
  const double busy =
      power_norm(kBusyNorm, {memory, l2, schedulers}) * (1 + crowding) * (1 + stream);
  const double fixed = (config.pdl ? kLaunchPdl : kLaunch) + reduction + exchange;

  CostEstimate result{.seconds = busy + fixed, .bound = "memory"};
  const double largest = std::max({memory, l2, schedulers});
  if (largest == l2) result.bound = "l2";
  if (largest == schedulers) result.bound = mma > decode ? "tensor" : "issue";
  if (fixed > busy) result.bound = "latency";
  return result;
}

double roofline_seconds(const Problem& problem, int64_t m, const Device& device) {
  const double memory = weight_bytes(problem, m) / device.memory_bandwidth;
  const double flops = 2.0 * double(m) * double(problem.n) * double(problem.k);
  return std::max(memory, flops / device.tensor_flops);
}

}  // namespace nvfp4
