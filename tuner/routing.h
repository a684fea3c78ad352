// SPDX-License-Identifier: Apache-2.0
// Which experts the tokens of a grouped launch go to, when the tuner decides: few experts with
// ragged shares for the gate, as many as chance has it and always others for the clock. Pure; the
// same arguments give the same routing anywhere.
#pragma once

#include <cstdint>
#include <vector>

namespace nvfp4 {

/// An expert and its tokens.
struct Share {
  int64_t expert = 0;
  int64_t tokens = 0;
};

/// m tokens over at most four experts, the first and the last among them, in ascending order of
/// experts. More tokens never mean fewer for one of them; some have none while m is small.
std::vector<Share> gate_shares(int64_t experts, int64_t m);

/// [experts + 1] offsets of the shares, which are ascending.
std::vector<int32_t> offsets_of(const std::vector<Share>& shares, int64_t experts);

/// Routings of launches that follow each other, each with busy_experts(experts, m) experts: one
/// token each and the rest by chance. Experts are dealt from a shuffled deck, so that none comes
/// twice before nearly all have come.
std::vector<std::vector<Share>> timed_routings(int64_t experts, int64_t m, uint64_t seed);

}  // namespace nvfp4
