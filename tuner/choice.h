// SPDX-License-Identifier: Apache-2.0
// From rows to winners: which config wins at one M, and for which other Ms it answers.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "tuner/search.h"
#include "tuning_db/records.h"

namespace nvfp4 {

/// The winner among rows of one (M, policy), all ok. Measured rows hold paired samples and are
/// decided by paired ratios with a 2 % tie band; modelled ones by their time alone. The interval is
/// the token tile of the config.
Winner choose_winner(std::span<const Measurement> finalists, const KernelConfig& default_config);

/// How many times as long as `other` a config takes at M; empty when it could not be found out.
using Compare = std::function<std::optional<double>(const KernelConfig& config,
                                                    const KernelConfig& other, int64_t m)>;

/// Extends the intervals of winners of one policy, ascending by m_tuned, over the gaps between
/// them. Each keeps its own token tile below the next tuned M; where in the rest the upper winner
/// is not slower than the tie band allows is found by `probes` bisections (the largest loss seen is
/// its regret bound). Where nothing can be found out, the gap stays open.
void join_intervals(std::span<Winner> winners, int probes, const Compare& compare);

}  // namespace nvfp4
