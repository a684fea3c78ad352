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

/// Times kernels against each other in interleaved rounds, until the order of the fastest is known
/// to half a percent or the rounds are up. A kernel's chain lasts about `seconds` in each round;
/// sample r of each was taken in round r.
std::vector<PolicyTimes> time_rounds(const Gpu& gpu, std::span<const TimedKernel> timed,
                                     const ColdPool& pool, Policy policy, double seconds);

/// Both read ceilings, with the streaming-read kernel in `image`; `pool` holds copies of the size
/// in question. Throws MeasureError when either exceeds what the memory can deliver: then a cache
/// answers.
Ceilings measure_ceilings(const Gpu& gpu, std::string_view image, const ColdPool& pool);

/// The same from the device's data sheet, for emulated devices.
Ceilings modelled_ceilings(const Device& device, int64_t bytes);

}  // namespace nvfp4
