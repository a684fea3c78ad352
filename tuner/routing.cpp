// SPDX-License-Identifier: Apache-2.0
// Shares and offsets.
#include "tuner/routing.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <random>

#include "generator/problem.h"

namespace nvfp4 {
namespace {

// A uniform index below `count`, the same with every standard library.
int64_t pick(std::mt19937_64& random, int64_t count) {
  return static_cast<int64_t>((static_cast<unsigned __int128>(random()) * count) >> 64);
}

}  // namespace

std::vector<Share> gate_shares(int64_t experts, int64_t m) {
  std::vector<Share> shares;
  for (const int64_t expert : {int64_t{0}, experts / 3, experts / 2, experts - 1}) {
    if (shares.empty() || shares.back().expert != expert) shares.push_back({.expert = expert});
  }
  // Every eight tokens: half of them go to the last expert, one to the first.
  constexpr std::array<size_t, 8> kTurns = {3, 1, 2, 3, 0, 3, 1, 3};
  for (size_t turn = 0; turn < kTurns.size(); ++turn) {
    const int64_t tokens = m / 8 + (static_cast<int64_t>(turn) < m % 8);
    shares[kTurns[turn] % shares.size()].tokens += tokens;
  }
  return shares;
}

std::vector<int32_t> offsets_of(const std::vector<Share>& shares, int64_t experts) {
  std::vector<int32_t> offsets(experts + 1);
  for (const Share& share : shares) offsets[share.expert + 1] = static_cast<int32_t>(share.tokens);
  std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
  return offsets;
}

std::vector<std::vector<Share>> timed_routings(int64_t experts, int64_t m, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int64_t> deck(experts);
  std::iota(deck.begin(), deck.end(), 0);
  for (int64_t i = experts - 1; i > 0; --i) std::swap(deck[i], deck[pick(random, i + 1)]);

  const int64_t busy = busy_experts(experts, m);
  std::vector<std::vector<Share>> routings;
  for (int64_t first = 0; first + busy <= experts; first += busy) {
    std::vector<Share> shares;
    for (int64_t i = 0; i < busy; ++i) shares.push_back({.expert = deck[first + i], .tokens = 1});
    for (int64_t token = busy; token < m; ++token) ++shares[pick(random, busy)].tokens;
    std::sort(shares.begin(), shares.end(),
              [](const Share& a, const Share& b) { return a.expert < b.expert; });
    routings.push_back(std::move(shares));
  }
  return routings;
}

}  // namespace nvfp4
