// SPDX-License-Identifier: Apache-2.0
#include "tuner/routing.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "generator/problem.h"

using namespace nvfp4;

namespace {

int64_t tokens_of(const std::vector<Share>& shares) {
  int64_t tokens = 0;
  for (const Share& share : shares) tokens += share.tokens;
  return tokens;
}

bool ascending(const std::vector<Share>& shares) {
  return std::adjacent_find(shares.begin(), shares.end(), [](const Share& a, const Share& b) {
           return a.expert >= b.expert;
         }) == shares.end();
}

}  // namespace

TEST_SUITE("routing") {
  TEST_CASE("the gate fills few experts, the first, the last and two neighbours among them") {
    for (const int64_t experts : {1, 2, 3, 4, 33, 128, 4096}) {
      std::vector<Share> before = gate_shares(experts, 0);
      for (int64_t m = 1; m <= 64; ++m) {
        const std::vector<Share> shares = gate_shares(experts, m);
        REQUIRE(tokens_of(shares) == m);
        REQUIRE(ascending(shares));
        REQUIRE(shares.front().expert == 0);
        REQUIRE(shares.back().expert == experts - 1);
        for (size_t i = 0; i < shares.size(); ++i) REQUIRE(shares[i].tokens >= before[i].tokens);
        before = shares;
      }
    }
    const std::vector<Share> shares = gate_shares(128, 16);
    CHECK(shares.size() == 4);
    CHECK(shares[2].expert == shares[1].expert + 1);
  }

  TEST_CASE("offsets begin at 0, end at all tokens, and stand still where an expert has none") {
    CHECK(offsets_of({{.expert = 1, .tokens = 3}, {.expert = 3, .tokens = 2}}, 5) ==
          std::vector<int32_t>{0, 0, 3, 3, 5, 5});
  }

  TEST_CASE("timed launches reach as many experts as chance has it, and others each time") {
    for (const int64_t m : {1, 8, 32, 128, 5000}) {
      const auto routings = timed_routings(128, m, 7);
      const int64_t busy = busy_experts(128, m);
      CHECK(static_cast<int64_t>(routings.size()) == 128 / busy);
      std::set<int64_t> seen;
      for (const std::vector<Share>& shares : routings) {
        REQUIRE(static_cast<int64_t>(shares.size()) == busy);
        REQUIRE(tokens_of(shares) == m);
        REQUIRE(ascending(shares));
        for (const Share& share : shares) {
          REQUIRE(share.tokens >= 1);
          REQUIRE(seen.insert(share.expert).second);
        }
      }
    }
    CHECK(timed_routings(128, 8, 7).front().front().expert ==
          timed_routings(128, 8, 7).front().front().expert);
  }
}
