// SPDX-License-Identifier: Apache-2.0
// What the busiest SM does, in cycles, from the inside out: a 64 x 64 tile of weights (decode and
// wgmma share register ports: they neither add up nor hide each other), a stage of tiles, the ring
// that must refill stages in time, and a round of stages for each output tile. Memory runs beside
// it. Nothing hides the ends of a round, the exchange of sums within a cluster, or the launch.
//
// The constants were fitted to 9549 coarse rows under PDL (H100 80GB HBM3 and H200, driver
// 580.159.04, 2026-11-28; 4 shapes with all candidates at M = 1 and 64, 16 with what searches tried
// at M = 1 .. 2048): rms error within a (shape, M) 5 %, weighted towards the fast configs. Where
// all candidates were measured the best is among the first 11, and the first is 1.0 % slower than
// the best on average, 6.4 % at worst; the same when fitted without the shape that is judged
// (model_accuracy prints this). What activations cost under stream-K is of 14619 rows of 27 shapes:
// without it the first choice at 5376 x 16384, M = 256 was 39 % slower than the best. No such term
// was found for whole tiles.
#include "generator/cost_model_wgmma.h"

#include <algorithm>
#include <cmath>

#include "generator/crowding.h"
#include "generator/launch_plan.h"
#include "generator/occupancy.h"
#include "generator/power_norm.h"

namespace nvfp4 {
namespace {

constexpr double kClockShare = 0.987;      // of the boost clock, mean of all that was measured
constexpr double kDramEfficiency = 0.935;  // of the data sheet's bandwidth, in a long stream
constexpr double kFlood = 0.155;  // of the time, for each kFloodShare of L2 in flight beyond one
constexpr double kFloodShare = 0.25;      // of L2
constexpr double kTokenShare = 0.314;     // of L2, in which activations stay
constexpr double kDecodeCycles = 116;     // of one 64 x 64 tile, by all warpgroups of an SM
constexpr double kLoneDecodeCycles = 58;  // more, over the warpgroups: one alone fills few gaps
constexpr double kFp16DecodeCycles = 25;  // more: 4 of 23 instructions a word (decode.cuh)
constexpr double kTileNorm = 1.61;        // 1: decode and wgmma add up; large: the longer counts
constexpr double kStageCycles = 194;      // waiting for, and releasing, one stage
constexpr double kFillCycles = 2180;      // from a stage's release to its next use
constexpr double kDrift = 0.36;   // of a stage's use, by which each more warpgroup holds it longer
constexpr double kRingNorm = 12;  // of use and refill; not part of the fit
constexpr double kBusyNorm = 4.25;
constexpr double kTokenBytesPerCycle = 34;  // of activations from L2, for each SM; tried 30 to 42
constexpr double kLaunchPdl = 0.9e-6;    // start, first stage and epilogue where launches overlap
constexpr double kLaunch = 2.9e-6;       // and where they do not; not part of the fit
constexpr double kMulticast = 0.5e-6;    // clusters along n
constexpr double kClusterSum = 0.79e-6;  // sums pushed through distributed shared memory
constexpr double kSumBytesPerCycle = 10.5;
constexpr double kSharedTile = 3.05e-6;  // under stream-K: atomics, fences, a second epilogue
constexpr double kShareBytesPerCycle = 19.6;
// Clusters of three find room on fewer SMs than the launch plan believes: 32 of them ran side by
// side, the last of 40 began when the first had ended (H100 and H200, one CTA an SM).
constexpr double kTripleShare = 9.0 / 11;

struct Work {
  double rounds;    ///< output tiles of one cluster, one after the other
  double resident;  ///< CTAs side by side on the busiest SM
  double active;    ///< SMs
  double steps;     ///< stages of one output tile
  double tiles;     ///< 64 x 64 weight tiles of one stage
  double ring;      ///< stages of the ring that there is work for
};

Work distribute(const KernelConfig& config, const Problem& problem, const LaunchPlan& plan,
                const Device& device) {
  const double rows = double(config.block_n) * config.cluster_n;
  const double output_tiles = std::ceil(double(problem.n) / rows) * plan.tiles_m;
  const double grid = double(plan.grid);
  const double steps = std::ceil(std::ceil(double(problem.k) / config.block_k) / config.cluster_k);
  const double fair = output_tiles * plan.cluster / grid;
  const bool late = plan.cluster == 3 && grid > kTripleShare * device.sm_count * config.ctas_per_sm;
  const double rounds =
      (config.schedule == Schedule::stream_k ? fair : std::ceil(fair)) * (late ? 2 : 1);
  return {.rounds = rounds,
          .resident = std::max(1.0, std::ceil(grid / device.sm_count)),
          .active = std::min<double>(device.sm_count, grid),
          .steps = steps,
          .tiles = config.block_n / 64.0 * k_tiles_per_stage(config),
          .ring = std::min<double>(config.num_stages, std::ceil(rounds * steps))};
}

// Weights come from memory once, activations stay in L2. Not so under stream-K, where every cluster
// is somewhere else in k: what L2 does not hold of them comes from memory each time.
double memory_seconds(const KernelConfig& config, const Problem& problem, int64_t m,
                      const LaunchPlan& plan, const Work& work, const Device& device) {
  double bytes = double(packed_bytes(problem.n, problem.k));
  if (config.schedule == Schedule::stream_k) {
    const double tokens = double(m) * double(problem.k) * 2;
    bytes += std::max(0.0, tokens - kTokenShare * double(device.l2_bytes)) * plan.tiles_n /
             config.cluster_n;
  }
  const double in_flight = work.active * work.resident * work.ring * work.tiles * kTileBytes;
  const double flood = std::max(0.0, in_flight / (kFloodShare * double(device.l2_bytes)) - 1);
  return bytes / (device.memory_bandwidth * kDramEfficiency) * (1 + kFlood * flood);
}

// Activations from L2. Clusters that are in the same place of k ask for the same ones at the same
// time, which costs nothing that could be seen; under stream-K each is somewhere else.
double token_seconds(const KernelConfig& config, const Problem& problem, const LaunchPlan& plan,
                     const Device& device) {
  if (config.schedule != Schedule::stream_k) return 0;
  const double tokens = double(plan.tiles_m) * config.block_m * double(problem.k) * 2;
  const double bytes = tokens * plan.tiles_n / config.cluster_n;
  return bytes / (kTokenBytesPerCycle * device.sm_count * device.clock_hz * kClockShare);
}

// Cycles from one stage to the next.
double stage_cycles(const KernelConfig& config, const Work& work, const Device& device) {
  // Tensor work of an SM and cycle, against the H100's.
  const double tensor_rate =
      device.tensor_flops / (device.sm_count * device.clock_hz) / (989.4e12 / (132 * 1.98e9));
  const double warpgroups = warps(config) / 4.0;
  const double decode = kDecodeCycles + kLoneDecodeCycles / (warpgroups * work.resident) +
                        (config.act == Activation::fp16 ? kFp16DecodeCycles : 0);
  const double tensor = 2.0 * config.block_m / tensor_rate;
  const double use =
      work.resident * work.tiles * power_norm(kTileNorm, {decode, tensor}) + kStageCycles;
  // A slot is filled, waits for its turn, and is held until the last warpgroup has run the first
  // group of the next stage.
  const double groups = std::max(1.0, double(units_per_warp(config)) * k_tiles_per_stage(config));
  const double held = (1 + 1 / groups + kDrift * (warpgroups - 1)) * use;
  return power_norm(kRingNorm, {use, (kFillCycles + held) / work.ring});
}

double unhidden_seconds(const KernelConfig& config, const Work& work, double clock) {
  double seconds = config.pdl ? kLaunchPdl : kLaunch;
  if (config.cluster_n > 1) seconds += kMulticast;
  if (uses_workspace(config)) {
    seconds +=
        kSharedTile + 2.0 * partial_bytes(config) * work.resident / (kShareBytesPerCycle * clock);
  }
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
  const double memory = memory_seconds(config, problem, m, plan, work, device);
  const double consume = work.rounds * work.steps * stage_cycles(config, work, device) / clock;
  const double fixed = unhidden_seconds(config, work, clock);

  const double tokens = token_seconds(config, problem, plan, device);
  double busy = power_norm(kBusyNorm, {memory, consume, tokens});
  if (config.pdl) busy *= crowding(double(plan.grid), resident_ctas(config, device), device);
  CostEstimate result{.seconds = busy + fixed, .bound = "memory"};
  if (consume > std::max(memory, tokens)) result.bound = config.block_m > 128 ? "tensor" : "issue";
  if (fixed > busy) result.bound = "latency";
  return result;
}

}  // namespace nvfp4
