// SPDX-License-Identifier: Apache-2.0
// Strata by what shapes a kernel most, shuffled and dealt in turn.
#include "tuner/sweep.h"

#include <algorithm>
#include <map>
#include <random>
#include <tuple>
#include <utility>

namespace nvfp4 {
namespace {

using Kind = std::tuple<Family, Schedule, int, int>;

Kind kind_of(const KernelConfig& config) {
  return {config.family, config.schedule, config.block_n, config.block_m};
}

// std::shuffle differs between standard libraries; this does not.
void shuffle(std::vector<KernelConfig>& configs, std::mt19937_64& random) {
  for (size_t i = configs.size(); i > 1; --i) std::swap(configs[i - 1], configs[random() % i]);
}

}  // namespace

std::vector<KernelConfig> stratified_sample(std::span<const KernelConfig> space, size_t count,
                                            uint64_t seed) {
  std::map<Kind, std::vector<KernelConfig>> strata;
  for (const KernelConfig& config : space) strata[kind_of(config)].push_back(config);
  std::mt19937_64 random(seed);
  for (auto& [kind, members] : strata) shuffle(members, random);
  std::vector<KernelConfig> sample;
  while (sample.size() < std::min(count, space.size())) {
    for (auto& [kind, members] : strata) {
      if (members.empty() || sample.size() == count) continue;
      sample.push_back(members.back());
      members.pop_back();
    }
  }
  return sample;
}

}  // namespace nvfp4
