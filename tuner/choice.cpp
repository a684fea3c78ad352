// SPDX-License-Identifier: Apache-2.0
// Winners and their intervals.
#include "tuner/choice.h"

#include <algorithm>

#include "tuner/statistics.h"

namespace nvfp4 {
Winner choose_winner(std::span<const Measurement> finalists, const KernelConfig& default_config) {
  const Measurement& fastest = *std::min_element(finalists.begin(), finalists.end(),
                                                 [](const Measurement& a, const Measurement& b) {
                                                   return a.timing.median_us < b.timing.median_us;
                                                 });
  const bool paired = fastest.provenance == Provenance::measured;
  std::vector<Finalist> ratios;
  for (const Measurement& row : finalists) {
    const bool rival = paired && &row != &fastest;
    ratios.push_back(
        {.config = row.kernel.config,
         .ratio = paired ? paired_ratio(row.samples_us, fastest.samples_us)
                         : row.timing.median_us / fastest.timing.median_us,
         .is_default = row.kernel.config == default_config,
         .uncertainty = rival ? paired_uncertainty(row.samples_us, fastest.samples_us) : 0});
  }
  // A model knows no noise: a tie band would only hide its order.
  const size_t best = choose_winner(ratios, paired ? kTieBand : 0);
  const Measurement& evidence = finalists[best];
  Winner winner{.device = evidence.device,
                .problem = evidence.problem,
                .policy = evidence.policy,
                .provenance = evidence.provenance,
                .interval = tile_interval(evidence.kernel.config, evidence.m),
                .m_tuned = evidence.m,
                .config = evidence.kernel.config,
                .evidence = evidence.id};
  ratios.erase(ratios.begin() + static_cast<std::ptrdiff_t>(best));
  if (!ratios.empty()) {
    winner.runner_up = std::min_element(ratios.begin(), ratios.end(), [](auto& a, auto& b) {
                         return a.ratio < b.ratio;
                       })->config;
  }
  return winner;
}

void join_intervals(std::span<Winner> winners, int probes, const Compare& compare) {
  for (size_t i = 1; i < winners.size(); ++i) {
    Winner& below = winners[i - 1];
    Winner& above = winners[i];
    // Inside its own tile the lower winner does the work that it was chosen for.
    below.interval.hi = std::min(below.interval.hi, above.m_tuned - 1);
    above.interval.lo = std::max(above.interval.lo, below.interval.hi + 1);
    int64_t last_below = below.interval.hi;  // the lower winner is faster here, or it is its tile
    int64_t first_above = above.m_tuned;     // the upper winner is as fast from here on
    bool known = true;
    for (int probe = 0; probe < probes && first_above - last_below > 1; ++probe) {
      int64_t middle = last_below + (first_above - last_below) / 2;
      // The lower winner costs the same up to the edge of a tile: ask there if there is an edge.
      const int64_t edge = middle / below.config.block_m * below.config.block_m;
      if (edge > last_below) middle = edge;
      const std::optional<double> ratio =
          above.config == below.config ? 1.0 : compare(above.config, below.config, middle);
      known = ratio.has_value();
      if (!known) break;
      if (*ratio <= 1 + kTieBand) {
        first_above = middle;
        const double loss = std::max(*ratio - 1, 0.0);
        above.regret_bound = std::max(above.regret_bound.value_or(0), loss);
      } else {
        // The lower winner costs the same up to the end of this tile.
        const int64_t tile = below.config.block_m;
        last_below = std::min((middle + tile - 1) / tile * tile, first_above - 1);
        below.regret_bound = below.regret_bound.value_or(0);
      }
    }
    if (!known) continue;
    below.interval.hi = last_below;
    above.interval.lo = last_below + 1;
  }
}

}  // namespace nvfp4
