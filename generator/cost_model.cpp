// SPDX-License-Identifier: Apache-2.0
// What a launch does in rounds: the CTAs that SMs hold together, round after round, read weights
// and decode and multiply them. A round's pipelines begin to multiply when their first stages have
// all landed, its warps are dealt to schedulers whole, and the last round may leave SMs idle. Under
// PDL the next launch begins meanwhile: that hides its fill, and makes CTAs crowd (crowding.h).
// Nothing hides launches, starts of CTAs, sums over warp groups, and partials exchanged between
// CTAs.
//
// The constants were fitted to 12445 coarse rows under PDL (H100 80GB HBM3 and H200, driver
// 580.159.04, 2026-11-28; 4 shapes with all candidates at M = 1 and 64, 27 with what searches tried
// at M = 1 .. 2048): rms error within a (shape, M) 6 %, weighted towards the fast configs. Where
// all candidates were measured the best is among the first 10, and the first is 1.0 % slower than
// the best on average, 4.9 % at worst; fitted without the shape that is judged, 2.2 and 9.4 %
// (model_accuracy prints this). Other cards scale the constants by clock, SMs and bandwidth.
#include "generator/cost_model.h"

#include <algorithm>
#include <cmath>

#include "generator/cost_model_wgmma.h"
#include "generator/crowding.h"
#include "generator/launch_plan.h"
#include "generator/occupancy.h"
#include "generator/power_norm.h"

namespace nvfp4 {
namespace {

constexpr double kClockShare = 0.987;        // of the boost clock, mean of all that was measured
constexpr double kDramEfficiency = 0.935;    // of the data sheet's bandwidth, in a long stream
constexpr double kMemoryLatency = 0.162e-6;  // s, more for each time that all pipelines refill
constexpr double kDecodeCycles = 26.8;       // of one unit and k16 step
constexpr double kFp16DecodeCycles = 4;      // more: instructions counted in decode.cuh
// What mma.sync reaches of the tensor cores' peak: on Hopper 7.4 cycles a m16n8k16 in these
// kernels, 6.2 in a loop of nothing else, 4.3 at the peak, which is wgmma's. Before Hopper mma.sync
// is the only way in (assumed: no such card has been measured).
constexpr double kHopperMmaShare = 0.6;
constexpr double kMmaShare = 0.85;
constexpr double kMmaFlops = 2.0 * 16 * 8 * 16;
constexpr double kOverlapNorm = 1.59;     // of decode and mma, among many warps
constexpr double kFragmentCycles = 5.36;  // one ldmatrix of a warp
constexpr double kCopyCycles = 10.2;      // 512 bytes copied by a warp
constexpr double kStageCycles = 106;      // of a warp, waiting for one stage
constexpr double kFill = 0.4;             // of the time in which the first stages land, unhidden
constexpr double kBusyNorm = 9.4;         // of memory and the schedulers
constexpr double kLaunchPdl = 1.64e-6;    // start, first loads, last stores where launches overlap
constexpr double kLaunch = 2.7e-6;        // and where they do not; not part of the fit
constexpr double kStart = 1.34e-6;        // from the end of a CTA to the first loads of the next
constexpr double kExchange = 1.74e-6;     // partials through the workspace: fence, atomic, re-read
constexpr double kStreamExchange = 3.26e-6;  // and where a CTA fills its pipelines for two tiles
constexpr double kExchangeBytesPerSmCycle = 7.43;  // partials written and read, all SMs at once
// Two launches of half the SMs each do not meet here. With room for two CTAs on an SM 40 to 90 took
// about as long as with room for one, 96 took 27 % longer; in the wgmma family 45 took 17 % longer,
// 64 24 % (medians, H200, 2026-11-28). 0.7 instead made first choices at M = 16 worse.
constexpr double kApartShare = 0.5;

// What one CTA does.
struct Cta {
  double weights = 0;     ///< bytes that come from memory
  double in_flight = 0;   ///< bytes of weights that its pipelines hold
  double unit_steps = 0;  ///< products of a 16 x 16 unit of weights and all tokens
  double decode = 0;      ///< cycles of a scheduler for one of those
  double mma = 0;
  double others = 0;   ///< cycles for everything else
  double waiting = 0;  ///< cycles of one warp
  double fill = 0;     ///< share of its weights that lands before the first are used
};

Cta cta_of(const KernelConfig& config, const Problem& problem, const LaunchPlan& plan,
           const Device& device) {
  double steps = std::ceil(double(problem.k) / config.block_k);
  if (config.schedule == Schedule::split_k) steps = std::ceil(steps / config.split_k);
  if (config.schedule == Schedule::stream_k) {
    steps = std::ceil(steps * plan.tiles_n * plan.tiles_m / double(plan.grid));
  }
  const double k_tiles = steps * k_tiles_per_stage(config);
  const double turns = std::ceil(steps / config.warps_k);  // of one warp group
  const int units = config.block_n / kUnitRows;
  const int token_tiles = config.block_m / kTokenTile;
  const double copies = (units * 576.0 + config.block_m * 128.0) / 512;
  const double share = device.arch.major >= 9 ? kHopperMmaShare : kMmaShare;
  const double flops_a_cycle =
      device.tensor_flops / (device.sm_count * device.clock_hz) / 4 * share;
  return {
      .weights = double(packed_bytes(problem.n, problem.k)) / double(plan.grid),
      .in_flight =
          config.warps_k * (config.num_stages - 1.0) * k_tiles_per_stage(config) * units * 576,
      .unit_steps = k_tiles * 4 * units,
      .decode = kDecodeCycles + (config.act == Activation::fp16 ? kFp16DecodeCycles : 0),
      .mma = token_tiles * kMmaFlops / flops_a_cycle,
      .others =
          k_tiles * (2.0 * config.warps_n * token_tiles * kFragmentCycles + copies * kCopyCycles),
      .waiting = turns * kStageCycles,
      // The pipelines' first copies are one group: the first stage is there when all of them are.
      .fill = std::min(1.0, (config.num_stages - 1) / turns)};
}

// Times of the CTAs that start together, or of one such round after the other.
struct Busy {
  double memory = 0;
  double schedulers = 0;
  double seconds = 0;  ///< of both, overlapped

  void add(const Busy& other, double times) {
    memory += times * other.memory;
    schedulers += times * other.schedulers;
    seconds += times * other.seconds;
  }
};

// A round of `side_by_side` CTAs on each of `sms` SMs. `exposed`: what nothing hides of the fill.
Busy round_of(const Cta& cta, const KernelConfig& config, double side_by_side, double sms,
              double exposed, const Device& device) {
  const double clock = device.clock_hz * kClockShare;
  const double ctas = side_by_side * sms;
  Busy busy;
  busy.memory = ctas * cta.weights / (device.memory_bandwidth * kDramEfficiency) +
                cta.weights / cta.in_flight * kMemoryLatency;
  // Warps are dealt to four schedulers, whole: six take as long as eight. One that is alone on its
  // scheduler hides nothing.
  const double share = std::ceil(side_by_side * warps(config) / 4);
  const double hidden = power_norm(kOverlapNorm, {cta.decode, cta.mma});
  const double unit = hidden + (cta.decode + cta.mma - hidden) / (share * share);
  const double cycles = (cta.unit_steps * unit + cta.others) / warps(config) * share;
  busy.schedulers = (cycles + cta.waiting) / clock;
  busy.seconds =
      power_norm(kBusyNorm, {busy.memory, busy.schedulers + exposed * cta.fill * busy.memory});
  return busy;
}

Busy all_rounds(const Cta& cta, const KernelConfig& config, double ctas, double resident,
                const Device& device) {
  const double needed = std::ceil(ctas / device.sm_count);
  const double side_by_side = std::min(resident, needed);
  // Under PDL the next launch's pipelines fill while this one multiplies, if there is room for
  // both.
  const double room = config.pdl ? resident / needed : 1;
  const double exposed = kFill * std::clamp(2 - room, 0.0, 1.0) / side_by_side;
  const double rounds = std::floor(ctas / (resident * device.sm_count));
  const double rest = ctas - rounds * resident * device.sm_count;
  Busy total;
  if (rounds > 0) {
    total.add(round_of(cta, config, resident, device.sm_count, exposed, device), rounds);
  }
  if (rest > 0) {
    const double last = std::ceil(rest / device.sm_count);
    total.add(round_of(cta, config, last, rest / last, exposed, device), 1);
  }
  const bool apart = ctas <= kApartShare * device.sm_count;
  if (config.pdl && !apart) total.seconds *= crowding(ctas, resident, device);
  const double starts = std::ceil(ctas / (resident * device.sm_count)) - 1;
  total.seconds += starts * kStart / resident;
  return total;
}

// Launch, the sum over warp groups (shared memory moves 128 bytes a cycle) and the exchange.
double unhidden_seconds(const KernelConfig& config, int64_t m, const LaunchPlan& plan,
                        double resident, const Device& device) {
  const double clock = device.clock_hz * kClockShare;
  const double tile_bytes = std::min<double>(double(m), config.block_m) * config.block_n * 4;
  const double ctas = std::ceil(double(plan.grid) / device.sm_count);  // of the busiest SM
  double seconds = config.pdl ? kLaunchPdl : kLaunch;
  seconds += std::max(1.0, ctas / resident) * 2 * config.warps_k * tile_bytes / (128 * clock);
  if (uses_workspace(config)) {
    const double tiles = double(plan.tiles_n) * plan.tiles_m;
    const bool stream = config.schedule == Schedule::stream_k;
    const double shares = stream ? double(plan.grid) + tiles : tiles * config.split_k;
    seconds += (stream ? kStreamExchange : kExchange) +
               2 * shares * tile_bytes / (kExchangeBytesPerSmCycle * clock * device.sm_count);
  }
  return seconds;
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
  const double resident = std::max(1, resident_ctas(config, device));
  const Cta cta = cta_of(config, problem, plan, device);
  const Busy busy = all_rounds(cta, config, double(plan.grid), resident, device);
  const double fixed = unhidden_seconds(config, m, plan, resident, device);

  CostEstimate result{.seconds = busy.seconds + fixed, .bound = "memory"};
  if (busy.schedulers > busy.memory) result.bound = cta.mma > cta.decode ? "tensor" : "issue";
  if (fixed > busy.seconds) result.bound = "latency";
  return result;
}

double roofline_seconds(const Problem& problem, int64_t m, const Device& device) {
  const double memory = weight_bytes(problem, m) / device.memory_bandwidth;
  const double flops = 2.0 * double(m) * double(problem.n) * double(problem.k);
  return std::max(memory, flops / device.tensor_flops);
}

}  // namespace nvfp4
