// SPDX-License-Identifier: Apache-2.0
// Which configs a tuning run tries, and in which order. Pure: the same inputs and seed give the
// same list. The cost model proposes; a seeded sample from outside its favourites keeps it honest,
// and what is already known to be good (the default, past winners) is never left out.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "generator/device.h"
#include "generator/problem.h"
#include "templates/kernel_config.h"
#include "tuning_db/records.h"

namespace nvfp4 {

/// Why a candidate is in the list.
enum class Origin { requested, default_config, winner, neighbour, model, exploration };

std::string_view name(Origin origin);

struct Candidate {
  KernelConfig config;
  Origin origin = Origin::model;
  bool suspect = false;  ///< was in flight when a tuner died: tried last

  /// Known good or asked for: tried however long the search has gone on without a gain.
  bool due() const { return origin != Origin::model && origin != Origin::exploration; }
};

struct SearchOptions {
  int max_candidates = 64;               ///< proposals of the model and explorations together
  double exploration = 0.1;              ///< share of max_candidates from outside the model's best
  uint64_t seed = 1;                     ///< of the exploration
  bool pdl = false;                      ///< every config is built for dependent launches
  std::vector<KernelConfig> requested;   ///< when not empty, these and nothing else
  std::vector<KernelConfig> winners;     ///< of this problem, any M
  std::vector<KernelConfig> neighbours;  ///< winners of other shapes
  std::vector<Suspect> suspects;  ///< in flight when a tuner died: last, or never when blocked
};

/// Winners of earlier runs that are worth trying at M.
struct PastWinners {
  std::vector<KernelConfig> winners;     ///< of this problem, any M
  std::vector<KernelConfig> neighbours;  ///< of other shapes of its kind at M, the four nearest
};

/// Those of `stored` that are of this device and activation. What has been chosen (`chosen`: each
/// policy has its winner at M) stays so until somebody brings news, imported winners: the winners
/// of other shapes, which every run of a model adds, would have all of it measured again.
PastWinners past_winners(std::span<const Winner> stored, const DeviceKey& device,
                         const Problem& problem, int64_t m, bool chosen);

/// Legal, distinct candidates for (problem, m): known good ones first, then the best of each family,
/// then by predicted time, with explorations among them at even distances.
std::vector<Candidate> choose_candidates(const Problem& problem, int64_t m, const Device& device,
                                         const SearchOptions& options);

/// A config with what its median says against the fastest, from paired rounds.
struct Finalist {
  KernelConfig config;
  double ratio = 1;         ///< median over rounds of its time over the fastest's; >= about 1
  bool is_default = false;  ///< the cost model's choice
  double uncertainty = 0;   ///< half of the ratio's 95 % interval
};

/// Index of the winner: among those within `tie_band` (or, where that is wider, their uncertainty)
/// of the fastest, the default config, else the
/// first in a fixed order of content (no cross-CTA sums, fewer of them, less shared memory, fewer
/// threads, then spelling), so that noise does not decide.
size_t choose_winner(std::span<const Finalist> finalists, double tie_band);

}  // namespace nvfp4
