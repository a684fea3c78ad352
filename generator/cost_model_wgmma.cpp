// SPDX-License-Identifier: Apache-2.0
// What the busiest SM does, in cycles, from the inside out: a 64 x 64 tile of weights (decode and
// wgmma share register ports: they neither add up nor hide each other), a stage of tiles, the ring
// that must refill stages in time, and a round of stages for each output tile. Memory and L2 run
// beside it. Nothing hides the ends of a round, the exchange of sums within a cluster, or the
// launch.
//
// The constants were fitted to 470 cold measurements under PDL on an H100 (six shapes, M = 8 ..
// 1024): rms error 7 % weighted towards the fast configs, 12 % over all; the best of what was
// measured for a shape and M is 1.3 % faster than the one that the model prefers, on average. Over
// 931 others (three shapes, M = 8 .. 1024) it is 2.6 %, but 60 and 71 % at 5376 x 21504, M = 8 and
// 16: clusters of three with two CTAs an SM crowd onto some SMs, for which there is no term.
// Stream-K's two constants are set by eye.
#include "generator/cost_model_wgmma.h"

#include <algorithm>
#include <cmath>

#include "generator/launch_plan.h"
#include "generator/occupancy.h"
#include "generator/power_norm.h"

namespace nvfp4 {
namespace {

constexpr double kClockShare = 0.91;       // of the boost clock, under load
constexpr double kDramEfficiency = 0.927;  // of the data sheet's bandwidth, in a long stream
constexpr double kMemoryLatency = 1.5e-6;  // s: bytes in flight / this bounds the bandwidth
constexpr double kL2BytesPerSmCycle = 40;
constexpr double kDecodeCycles = 144;     // of one 64 x 64 tile, by all warpgroups of an SM
constexpr double kLoneDecodeCycles = 42;  // more, over the warpgroups: one alone fills few gaps
constexpr double kFp16DecodeCycles = 25;  // more: 4 of 23 instructions a word (decode.cuh)
constexpr double kTileNorm = 2.15;        // 1: decode and wgmma add up; large: the longer counts
constexpr double kMinStepTokens = 16;     // a wgmma of fewer tokens takes no less time
constexpr double kStageCycles = 150;      // waiting for, and releasing, one stage
constexpr double kFillCycles = 1280;  // from a stage's release to its next use, in an idle machine
constexpr double kMulticastFillCycles = 206;  // more when every peer must have released it
constexpr double kFillCyclesPerByte = 0.0268;
constexpr double kRingNorm = 8;
constexpr double kBusyNorm = 12;
constexpr double kLaunchPdl = 1.35e-6;   // start, first stage and epilogue where launches overlap
constexpr double kLaunch = 2.9e-6;       // and where they do not; not part of the fit
constexpr double kMulticast = 0.55e-6;   // clusters along n
constexpr double kClusterSum = 0.49e-6;  // sums pushed through distributed shared memory
constexpr double kWideClusterSum = 1.04e-6;  // more in clusters of three and more
constexpr double kSumBytesPerCycle = 14;
constexpr double kSharedTile = 1.5e-6;  // under stream-K: atomics, fences, a second epilogue
constexpr double kShareBytesPerCycle = 20;

struct Work {
  double rounds;    ///< output tiles of one cluster, one after the other
  double resident;  ///< CTAs side by side on the busiest SM
  double active;    ///< SMs
  double steps;     ///< stages of one output tile
  double tiles;     ///< 64 x 64 weight tiles of one stage
};

Work distribute(const KernelConfig& config, const Problem& problem, const LaunchPlan& plan,
                const Device& device) {
  const double rows = double(config.block_n) * config.cluster_n;
  const double output_tiles = std::ceil(double(problem.n) / rows) * plan.tiles_m;
  const double grid = double(plan.grid);
  const double steps = std::ceil(double(problem.k) / config.block_k);
  const double rounds = output_tiles * plan.cluster / grid;
  return {.rounds = config.schedule == Schedule::stream_k ? rounds : std::ceil(rounds),
          .resident = std::max(1.0, std::ceil(grid / device.sm_count)),
          .active = std::min<double>(device.sm_count, grid),
          .steps = std::ceil(steps / config.cluster_k),
          .tiles = config.block_n / 64.0 * k_tiles_per_stage(config)};
}

// Cycles from one stage to the next.
double stage_cycles(const KernelConfig& config, const Work& work, double tensor_rate) {
  const double decode = kDecodeCycles + kLoneDecodeCycles / (warps(config) / 4 * work.resident) +
                        (config.act == Activation::fp16 ? kFp16DecodeCycles : 0);
  const double tensor = 4 * std::max(kMinStepTokens, double(config.block_m)) / 2 / tensor_rate;
  const double use =
      work.resident * (work.tiles * power_norm(kTileNorm, {decode, tensor}) + kStageCycles);
  // A slot is filled, waits for its turn, and is held until the first group of the next stage has
  // run.
  const double groups = std::max(1.0, double(units_per_warp(config)) * k_tiles_per_stage(config));
  const double fill = kFillCycles + (config.cluster_n > 1 ? kMulticastFillCycles : 0) +
                      kFillCyclesPerByte * work.resident * stage_bytes(config);
  const double turn = (fill + (1 + 1 / groups) * use) / config.num_stages;
  return power_norm(kRingNorm, {use, turn});
}

double unhidden_seconds(const KernelConfig& config, const Work& work, double clock) {
  double seconds = config.pdl ? kLaunchPdl : kLaunch;
  if (config.cluster_n > 1) seconds += kMulticast;
  if (uses_workspace(config)) {
    seconds +=
        kSharedTile + 2.0 * partial_bytes(config) * work.resident / (kShareBytesPerCycle * clock);
  }
  if (config.cluster_k > 2) seconds += kWideClusterSum;
  if (config.cluster_k > 1) {
    seconds += work.rounds * (kClusterSum + exchange_bytes(config) / (kSumBytesPerCycle * clock));
  }
  return seconds;
}

}  // namespace

CostEstimate estimate_wgmma(const KernelConfig& config, const Problem& problem, int64_t m,
                            const Device& device) {
  const LaunchPlan plan = launch_plan(config, problem, m, device);
  const Work work = distribute(config, problem, plan, device);
  const double clock = device.clock_hz * kClockShare;
  // Tensor work of an SM and cycle, against the H100's.
  const double tensor_rate =
      device.tensor_flops / (device.sm_count * device.clock_hz) / (989.4e12 / (132 * 1.98e9));

  const double flight = work.resident * (config.num_stages - 1) * work.tiles * 2304 * work.active;
  const double memory =
      double(packed_bytes(problem.n, problem.k)) /
      std::min(device.memory_bandwidth * kDramEfficiency, flight / kMemoryLatency);
  const double activations =
      double(k_tiles_per_stage(config)) * config.block_m * 128 / config.cluster_n;
  const double l2 = work.rounds * work.resident * work.steps * (work.tiles * 2304 + activations) /
                    (kL2BytesPerSmCycle * clock);
  const double consume = work.rounds * work.steps * stage_cycles(config, work, tensor_rate) / clock;
  const double fixed = unhidden_seconds(config, work, clock);

  const double busy = power_norm(kBusyNorm, {memory, l2, consume});
  CostEstimate result{.seconds = busy + fixed, .bound = "memory"};
  const double largest = std::max({memory, l2, consume});
  if (largest == l2) result.bound = "l2";
  if (largest == consume) result.bound = config.block_m > 128 ? "tensor" : "issue";
  if (fixed > busy) result.bound = "latency";
  return result;
}

}  // namespace nvfp4
