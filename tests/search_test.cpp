// SPDX-License-Identifier: Apache-2.0
// Which candidates a run tries, and who wins among finalists.
#include "tuner/search.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>

#include "generator/candidate_space.h"
#include "generator/config_text.h"
#include "generator/device.h"
#include "generator/legality.h"

using namespace nvfp4;

namespace {

const Device& h100() { return find_part("h100")->device; }

Problem problem() { return {.n = 4096, .k = 4096, .arch = h100().arch}; }

std::vector<std::string> texts(const std::vector<Candidate>& candidates) {
  std::vector<std::string> result;
  for (const Candidate& c : candidates) result.push_back(config_text(c.config));
  return result;
}

size_t place(const std::vector<Candidate>& list, const KernelConfig& config) {
  return std::find_if(list.begin(), list.end(), [&](auto& c) { return c.config == config; }) -
         list.begin();
}

}  // namespace

TEST_SUITE("search") {
  TEST_CASE("the default comes first, each config once, all of them legal") {
    const auto list = choose_candidates(problem(), 64, h100(), {.max_candidates = 60, .pdl = true});
    CHECK(list.front().config == default_config(problem(), 64, h100()));
    CHECK(list.front().origin == Origin::default_config);
    CHECK(list.size() >= 60);
    const auto names = texts(list);
    CHECK(std::set<std::string>(names.begin(), names.end()).size() == names.size());
    for (const Candidate& c : list) CHECK_FALSE(illegal_reason(c.config, h100()).has_value());
  }

  TEST_CASE("a tenth comes from outside the model's favourites") {
    const auto list = choose_candidates(problem(), 64, h100(), {.max_candidates = 60, .pdl = true});
    const auto space = candidates(problem(), 64, h100());
    size_t explored = 0;
    for (const Candidate& c : list) {
      if (c.origin != Origin::exploration) continue;
      ++explored;
      const size_t rank = std::find(space.begin(), space.end(), c.config) - space.begin();
      CHECK(rank >= 54);
      CHECK(rank < space.size());
    }
    CHECK(explored == 6);
  }

  TEST_CASE("a search that ends half way has tried each family and explored") {
    const auto list = choose_candidates(problem(), 64, h100(), {.max_candidates = 60, .pdl = true});
    int explored = 0;
    std::map<Family, int> families;
    for (size_t i = 0; i < 34; ++i) {
      explored += list[i].origin == Origin::exploration;
      ++families[list[i].config.family];
    }
    CHECK(explored >= 2);
    CHECK(families[Family::mma] >= 4);
    CHECK(families[Family::wgmma] >= 4);
  }

  TEST_CASE("past winners are tried until a choice is made, imported ones after it too") {
    const DeviceKey device = key_of(h100());
    const auto winner = [&](int64_t n, int block_n, WinnerOrigin origin) {
      Winner w{.device = device, .problem = problem(), .interval = {1, 8}};
      w.problem.n = n;
      w.config.block_n = block_n;
      w.origin = origin;
      return w;
    };
    std::vector<Winner> stored = {winner(4096, 16, WinnerOrigin::tuned),
                                  winner(4096, 32, WinnerOrigin::imported),
                                  winner(8192, 48, WinnerOrigin::imported)};
    for (int i = 1; i <= 5; ++i) {
      stored.push_back(winner(4096 + 64 * i, 64 + 16 * i, WinnerOrigin::tuned));
    }
    Winner elsewhere = winner(4096, 240, WinnerOrigin::tuned);
    elsewhere.device.sm_count = 1;
    stored.push_back(elsewhere);
    // M of a grouped launch counts the tokens of all experts: it says nothing about this one.
    Winner grouped = winner(4097, 256, WinnerOrigin::tuned);
    grouped.problem.kind = ProblemKind::grouped;
    grouped.problem.experts = 8;
    stored.push_back(grouped);
    const auto rows = [](const std::vector<KernelConfig>& configs) {
      std::vector<int> list;
      for (const KernelConfig& config : configs) list.push_back(config.block_n);
      return list;
    };
    const PastWinners open = past_winners(stored, device, problem(), 8, false);
    CHECK(rows(open.winners) == std::vector<int>{16, 32});
    CHECK(rows(open.neighbours) == std::vector<int>{80, 96, 112, 128});
    CHECK(past_winners(stored, device, problem(), 9, false).neighbours.empty());
    // A run over other shapes has stored their winners since: that changes nothing here.
    const PastWinners closed = past_winners(stored, device, problem(), 8, true);
    CHECK(rows(closed.winners) == std::vector<int>{32});
    CHECK(rows(closed.neighbours) == std::vector<int>{48});
  }

  TEST_CASE("the same seed gives the same list, another seed another") {
    const SearchOptions one{.max_candidates = 40, .seed = 1, .pdl = true};
    const SearchOptions two{.max_candidates = 40, .seed = 2, .pdl = true};
    CHECK(texts(choose_candidates(problem(), 8, h100(), one)) ==
          texts(choose_candidates(problem(), 8, h100(), one)));
    CHECK(texts(choose_candidates(problem(), 8, h100(), one)) !=
          texts(choose_candidates(problem(), 8, h100(), two)));
  }

  TEST_CASE("past winners and neighbours are tried even where the model does not propose them") {
    const auto space = candidates(problem(), 64, h100());
    const KernelConfig winner = space[space.size() - 1];
    const KernelConfig neighbour = space[space.size() - 2];
    const auto list = choose_candidates(
        problem(), 64, h100(),
        {.max_candidates = 1, .pdl = true, .winners = {winner}, .neighbours = {neighbour}});
    CHECK(place(list, winner) < list.size());
    CHECK(place(list, neighbour) < list.size());
  }

  TEST_CASE("a suspect is tried last, and never again after a second death") {
    const auto space = candidates(problem(), 64, h100());
    SearchOptions options{
        .max_candidates = 10, .pdl = true, .suspects = {{space[0], 1}, {space[1], 2}}};
    const auto list = choose_candidates(problem(), 64, h100(), options);
    CHECK(list.back().config == space[0]);
    CHECK(place(list, space[1]) == list.size());
  }

  TEST_CASE("requested configs are the whole list") {
    const auto space = candidates(problem(), 64, h100());
    const auto list = choose_candidates(problem(), 64, h100(), {.requested = {space[3], space[3]}});
    REQUIRE(list.size() == 1);
    CHECK(list[0].config == space[3]);
    CHECK(list[0].origin == Origin::requested);
  }

  TEST_CASE("a run for dependent launches builds every candidate for them") {
    const auto list = choose_candidates(problem(), 64, h100(), {.max_candidates = 20, .pdl = true});
    for (const Candidate& c : list) CHECK(c.config.pdl);
  }
}

TEST_SUITE("choose_winner") {
  const KernelConfig kPlain{.block_n = 64, .warps_k = 4};
  const KernelConfig kSplit{
      .block_n = 64, .warps_k = 4, .schedule = Schedule::split_k, .split_k = 2};

  TEST_CASE("a clear lead wins whatever its content") {
    CHECK(choose_winner(std::vector<Finalist>{{kPlain, 1.05}, {kSplit, 1.0}}, 0.02) == 1);
    CHECK(choose_winner(std::vector<Finalist>{{kPlain, 1.05, true}, {kSplit, 1.0}}, 0.02) == 1);
  }

  TEST_CASE("within the tie band content decides, not order and not noise") {
    CHECK(choose_winner(std::vector<Finalist>{{kSplit, 1.0}, {kPlain, 1.019}}, 0.02) == 1);
    CHECK(choose_winner(std::vector<Finalist>{{kPlain, 1.019}, {kSplit, 1.0}}, 0.02) == 0);
    CHECK(choose_winner(std::vector<Finalist>{{kPlain, 1.0}, {kSplit, 1.019}}, 0.02) == 0);
  }

  TEST_CASE("a tie goes to the default: a tuned choice is never a default that lost by noise") {
    CHECK(choose_winner(std::vector<Finalist>{{kPlain, 1.0}, {kSplit, 1.01, true}}, 0.02) == 1);
  }
}
