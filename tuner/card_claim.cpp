// SPDX-License-Identifier: Apache-2.0
// The lock first: a tuner that just finished may still be seen on the card for a moment.
#include "tuner/card_claim.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace nvfp4 {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kTick = std::chrono::milliseconds(100);
constexpr auto kPatience = std::chrono::seconds(2);  // for contexts of processes that have ended

// Answers also where there is no NVML. A name in cuda.h since CUDA 12.4 only.
bool mps_enabled(const Gpu& gpu) {
  constexpr auto kMpsEnabled = static_cast<CUdevice_attribute>(133);
  int enabled = 0;
  const CUresult status = gpu.driver().device_get_attribute(&enabled, kMpsEnabled, gpu.ordinal());
  return status == CUDA_SUCCESS && enabled != 0;
}

}  // namespace

std::string disturbance_of(const CardUse& use, int own) {
  if (use.mig) return "it is divided into MIG slices, which share its memory";
  if (!use.mps.empty()) return "the multi-process service (MPS) shares it";
  std::vector<int> others = use.processes;
  const auto self = std::find(others.begin(), others.end(), own);
  const bool same_numbers = self != others.end();
  if (!others.empty()) others.erase(same_numbers ? self : others.begin());
  if (others.empty()) return {};
  return fmt::format("{} other process{} computes on it{}", others.size(),
                     others.size() == 1 ? "" : "es",
                     same_numbers ? fmt::format(" ({})", fmt::join(others, ", ")) : "");
}

void CardClaim::take_turn(const std::string& name, const ClaimOptions& options) {
  if (!lock_->usable()) {
    options.say(fmt::format("{} cannot be opened: another tuner may measure beside this one",
                            lock_->path()));
    return;
  }
  bool said = false;
  while (!lock_->try_acquire()) {
    const std::string who = lock_->holder();
    if (!options.wait)
      throw CardError(fmt::format("{} is held by {} ({})", name, who, lock_->path()));
    if (!said) options.say(fmt::format("{} is held by {}: waiting for it", name, who));
    said = true;
    if (options.stopped()) return;
    std::this_thread::sleep_for(kTick);
  }
}

CardClaim::CardClaim(const Gpu& gpu, const ClaimOptions& options) {
  const Card card(gpu);
  if (gpu.emulated() && !card.known()) return;
  const std::string name = fmt::format("{} {}", gpu.facts().name, card.uuid());
  lock_.emplace(card.uuid());
  take_turn(name, options);
  const Clock::time_point give_up = Clock::now() + kPatience;
  do {
    disturbance_ =
        mps_enabled(gpu) ? disturbance_of({.mps = {0}}, 0) : disturbance_of(card.use(), getpid());
    if (disturbance_.empty() || options.shared || options.stopped()) break;
    std::this_thread::sleep_for(kTick);
  } while (Clock::now() < give_up);
  if (disturbance_.empty()) return;
  if (!options.shared && !options.stopped()) {
    throw CardError(fmt::format("{}: {}; --shared measures all the same", name, disturbance_));
  }
  options.say(fmt::format("{}: {}; every row says so", name, disturbance_));
}

}  // namespace nvfp4
