// SPDX-License-Identifier: Apache-2.0
// Cold timing: chains of launches, each over weights that no cache holds, between two events.
// Nothing is flushed or cleared inside the timed region, and a split of K is charged with all that
// it costs.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "generator/launch_plan.h"
#include "runtime/kernel.h"
#include "tuner/cold_pool.h"
#include "tuner/jobs.h"
#include "tuner/nvml.h"

namespace nvfp4 {

/// The measurement itself is not to be trusted, e.g. the pool is not cold.
class MeasureError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A kernel with its arguments; the chain puts each launch on other weights.
struct TimedKernel {
  const Kernel* kernel = nullptr;
  GemmParams params = {};
  LaunchPlan plan;
  int experts = 0;  ///< of a grouped kernel
};

/// Times one kernel: `replays` samples, each the mean over a chain of about `seconds`.
PolicyTimes time_cold(const Gpu& gpu, const TimedKernel& timed, const ColdPool& pool, Policy policy,
                      double seconds, int replays);

/// The same for anything that can be launched on weights of the pool, e.g. another library.
using LaunchOn = std::function<void(const ColdWeights& weights, CUstream stream)>;
PolicyTimes time_cold(const Gpu& gpu, const LaunchOn& launch, const ColdPool& pool, Policy policy,
                      double seconds, int replays);

/// Adds a look at the card, taken while `times` was measured, to what they say.
void note_reading(PolicyTimes& times, const CardReading& reading);

/// True when what was timed meanwhile says nothing about the kernel: the clock was below 75 % of
/// the card's own. Not so when the power limit alone held it: that is how the card runs this kernel
/// when it serves, too.
bool clock_collapsed(const CardReading& reading, double default_mhz);

/// True when more rounds would not change the choice: each rival of the fastest is certainly
/// outside the tie band, certainly inside, or known to half a percent.
bool decided(std::span<const PolicyTimes> times);

/// Times kernels against each other in interleaved rounds, until the choice is decided or the
/// rounds are up: 120, or 2 s a kernel. A kernel's chain lasts about `seconds` in each round;
/// sample r of each was taken in the r-th round that counts, and a round in which the clock
/// collapsed does not.
std::vector<PolicyTimes> time_rounds(const Gpu& gpu, const Card& card,
                                     std::span<const TimedKernel> timed, const ColdPool& pool,
                                     Policy policy, double seconds);

/// Both read ceilings, with the streaming-read kernel in `image`; `pool` holds copies of the size
/// in question. Throws MeasureError when either exceeds what the memory can deliver: then a cache
/// answers.
Ceilings measure_ceilings(const Gpu& gpu, std::string_view image, const ColdPool& pool);

/// The same from the device's data sheet, for emulated devices.
Ceilings modelled_ceilings(const Device& device, int64_t bytes);

}  // namespace nvfp4
