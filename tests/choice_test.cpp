// SPDX-License-Identifier: Apache-2.0
// From rows to winners and their intervals of M; what the history settles; what is left to do.
#include "tuner/choice.h"

#include <doctest/doctest.h>

#include "generator/device.h"
#include "tuner/history.h"
#include "tuner/plan.h"

using namespace nvfp4;

namespace {

const KernelConfig kSmall{.block_n = 64, .block_m = 8};
const KernelConfig kLarge{.block_n = 64, .block_m = 64};
const KernelConfig kOther{.block_n = 128, .block_m = 16};
const Toolchain kToolchain{"13.0", "13.0", "digest"};

Measurement row(const KernelConfig& config, int64_t m, std::vector<float> us, int64_t id = 1) {
  Measurement result{.kernel = {.config = config}, .m = m, .policy = Policy::graph, .id = id};
  result.problem = {.n = 4096, .k = 4096, .arch = {9, 0, true}};
  result.toolchain = kToolchain;
  result.timing = {.median_us = us[us.size() / 2], .samples = static_cast<int>(us.size())};
  result.samples_us = std::move(us);
  return result;
}

Measurement failed(Measurement measurement, Verdict verdict) {
  measurement.verdict = verdict;
  measurement.timing = {};
  return measurement;
}

Winner winner(const KernelConfig& config, int64_t m) {
  return {.interval = tile_interval(config, m), .m_tuned = m, .config = config};
}

}  // namespace

TEST_SUITE("choice") {
  TEST_CASE("the winner carries its evidence, its runner-up and its token tile") {
    const Measurement rows[] = {row(kSmall, 63, {12, 12, 12, 12, 12}, 5),
                                row(kLarge, 63, {10, 10, 10, 10, 10}, 6),
                                row(kOther, 63, {11, 11, 11, 11, 11}, 7)};
    const Winner best = choose_winner(rows, kSmall);
    CHECK(best.config == kLarge);
    CHECK(best.evidence == 6);
    CHECK(best.runner_up == kOther);
    CHECK(best.interval == MInterval{1, 64});
    CHECK(best.m_tuned == 63);
  }

  TEST_CASE("paired samples decide, not medians that a drift has moved") {
    // In every round kOther takes 5 % longer; its median is lower because it was read early.
    const Measurement rows[] = {row(kLarge, 8, {10, 20, 30, 40, 50}, 1),
                                row(kOther, 8, {10.5f, 21, 31.5f, 42, 52.5f}, 2)};
    CHECK(choose_winner(rows, kSmall).config == kLarge);
  }

  TEST_CASE("what the samples cannot tell apart is a tie, however wide") {
    // 4 % slower in the median, and no better known than to 8 %.
    const Measurement rows[] = {row(kLarge, 8, {10, 10, 10, 10, 10}, 1),
                                row(kSmall, 8, {9, 9.8f, 10.4f, 11, 11.6f}, 2)};
    CHECK(choose_winner(rows, kSmall).config == kSmall);
    CHECK(choose_winner(rows, kLarge).config == kLarge);
  }

  TEST_CASE("modelled times know no tie") {
    Measurement a = row(kLarge, 8, {10.0f}, 1);
    Measurement b = row(kOther, 8, {10.1f}, 2);
    a.provenance = b.provenance = Provenance::modelled;
    const Measurement rows[] = {b, a};
    CHECK(choose_winner(rows, kOther).config == kLarge);
  }

  TEST_CASE("the upper winner takes the gap below it when it is as fast there") {
    Winner winners[] = {winner(kSmall, 8), winner(kOther, 64)};
    std::vector<int64_t> asked;
    join_intervals(winners, 3,
                   [&](const KernelConfig& config, const KernelConfig& other, int64_t m) {
                     CHECK(config == kOther);
                     CHECK(other == kSmall);
                     asked.push_back(m);
                     return std::optional(1.01);
                   });
    CHECK(asked == std::vector<int64_t>{32, 16, 12});  // edges of the lower winner's tiles of 8
    CHECK(winners[0].interval == MInterval{1, 8});
    CHECK(winners[1].interval == MInterval{9, 64});
    CHECK(*winners[1].regret_bound == doctest::Approx(0.01));
  }

  TEST_CASE(
      "with one probe the upper winner takes the whole gap when it is as fast in its middle") {
    Winner winners[] = {winner(kSmall, 8), winner(kOther, 64)};
    std::vector<int64_t> asked;
    join_intervals(winners, 1, [&](auto&, auto&, int64_t m) {
      asked.push_back(m);
      return std::optional(1.01);
    });
    CHECK(asked == std::vector<int64_t>{32});
    CHECK(winners[0].interval == MInterval{1, 8});
    CHECK(winners[1].interval == MInterval{9, 64});
  }

  TEST_CASE("where the upper winner is slower, the lower one goes on") {
    Winner winners[] = {winner(kSmall, 8), winner(kLarge, 64)};
    // The large tile costs as much as three small ones.
    const auto compare = [](const KernelConfig&, const KernelConfig&, int64_t m) {
      return std::optional(m <= 24 ? 1.5 : 0.9);
    };
    join_intervals(winners, 3, compare);
    CHECK(winners[0].interval == MInterval{1, 24});
    CHECK(winners[1].interval == MInterval{25, 64});
    CHECK(*winners[1].regret_bound == 0);
  }

  TEST_CASE("a winner keeps its tile though the tile of the next one reaches over it") {
    Winner winners[] = {winner(kSmall, 1), winner(kLarge, 64)};
    join_intervals(winners, 3, [](auto&, auto&, int64_t) { return std::optional<double>(); });
    CHECK(winners[0].interval == MInterval{1, 8});
    CHECK(winners[1].interval == MInterval{9, 64});
  }

  TEST_CASE("a gap about which nothing could be found out stays open") {
    Winner winners[] = {winner(kSmall, 8), winner(kOther, 64)};
    join_intervals(winners, 3, [](auto&, auto&, int64_t) { return std::optional<double>(); });
    CHECK(winners[0].interval == MInterval{1, 8});
    CHECK(winners[1].interval == MInterval{49, 64});
  }

  TEST_CASE("no M has two answers, and every tuned M keeps its own") {
    Winner winners[] = {winner(kLarge, 1), winner(kLarge, 2), winner(kSmall, 3),
                        winner(kLarge, 40)};
    join_intervals(winners, 3, [](auto&, auto&, int64_t) { return std::optional(1.0); });
    for (int i = 0; i < 4; ++i) {
      CHECK(winners[i].interval.contains(winners[i].m_tuned));
      if (i > 0) CHECK(winners[i].interval.lo == winners[i - 1].interval.hi + 1);
    }
  }
}

TEST_SUITE("history") {
  const Policy kPolicies[] = {Policy::graph};

  TEST_CASE("a config is settled where it has a time, and everywhere once it failed") {
    History history({row(kSmall, 8, {10}), failed(row(kLarge, 8, {10}), Verdict::wrong)},
                    kToolchain);
    CHECK(history.settled(kSmall, 8, kPolicies));
    CHECK_FALSE(history.settled(kSmall, 16, kPolicies));
    const Policy both[] = {Policy::graph, Policy::graph_pdl};
    CHECK_FALSE(history.settled(kSmall, 8, both));
    CHECK(history.settled(kLarge, 16, both));
    CHECK(history.failed(kLarge));
    CHECK_FALSE(history.failed(kSmall));
  }

  TEST_CASE(
      "noise or a refused launch does not settle a config, and rows of another toolchain count for "
      "nothing") {
    Measurement old = row(kOther, 8, {10});
    old.toolchain.template_digest = "older";
    History history({failed(row(kSmall, 8, {10}), Verdict::too_noisy),
                     failed(row(kSmall, 8, {10}), Verdict::launch_error), old},
                    kToolchain);
    CHECK_FALSE(history.settled(kSmall, 8, kPolicies));
    CHECK_FALSE(history.settled(kOther, 8, kPolicies));
    CHECK(history.ranking(8, Policy::graph).empty());
  }

  TEST_CASE("the ranking takes the best-founded row of each config and leaves failures out") {
    History history(
        {row(kSmall, 8, {9}, 1), row(kSmall, 8, {12, 12, 12}, 2), row(kOther, 8, {11}, 3),
         row(kLarge, 8, {5}, 4), failed(row(kLarge, 8, {5}, 5), Verdict::fault)},
        kToolchain);
    const auto ranking = history.ranking(8, Policy::graph);
    REQUIRE(ranking.size() == 2);
    CHECK(ranking[0]->id == 3);
    CHECK(ranking[1]->id == 2);
    CHECK(history.find(4)->kernel.config == kLarge);
    CHECK(history.find(99) == nullptr);
  }
}

TEST_SUITE("killers") {
  TEST_CASE("what ends its worker in two runs is blocked, with whatever toolchain") {
    std::vector<Measurement> rows;
    const auto add = [&](const KernelConfig& config, int64_t run, Verdict verdict) {
      rows.push_back(failed(row(config, 8, {1}), verdict));
      rows.back().run = run;
    };
    add(kSmall, 1, Verdict::fault);
    add(kSmall, 1, Verdict::hang);  // the same run
    add(kLarge, 1, Verdict::hang);
    add(kLarge, 2, Verdict::fault);
    rows.back().toolchain.nvrtc = "14.0";
    add(kOther, 1, Verdict::wrong);  // harmed nobody
    add(kOther, 2, Verdict::too_noisy);
    std::vector<Suspect> suspects;
    add_killers(suspects, rows);
    REQUIRE(suspects.size() == 2);
    CHECK(suspects[0].config == kSmall);
    CHECK_FALSE(suspects[0].blocked());
    CHECK(suspects[1].config == kLarge);
    CHECK(suspects[1].blocked());
  }

  TEST_CASE("a death of the worker counts like one of the tuner") {
    std::vector<Measurement> rows = {failed(row(kSmall, 8, {1}), Verdict::fault)};
    std::vector<Suspect> suspects = {{.config = kSmall, .deaths = 1}};
    add_killers(suspects, rows);
    REQUIRE(suspects.size() == 1);
    CHECK(suspects[0].blocked());
  }
}

TEST_SUITE("plan") {
  TEST_CASE("a config that several Ms want is one task, and Ms take turns") {
    const std::vector<Candidate> lists[] = {{{kSmall}, {kOther}}, {{kLarge}, {kSmall}}};
    const int64_t tokens[] = {1, 64};
    const std::vector<Task> tasks = merge_tasks(lists, tokens);
    REQUIRE(tasks.size() == 3);
    CHECK(tasks[0].candidate.config == kSmall);
    CHECK(tasks[0].tokens == std::vector<int64_t>{1, 64});
    CHECK(tasks[1].candidate.config == kLarge);
    CHECK(tasks[2].candidate.config == kOther);
  }

  TEST_CASE("only what the history does not settle is left, and enough passes end it") {
    const Task tasks[] = {{{kSmall}, {1, 64}}, {{kLarge}, {64}}, {{kOther}, {64}}};
    const Policy policies[] = {Policy::graph};
    History history({row(kSmall, 64, {10}), failed(row(kLarge, 64, {10}), Verdict::hang)},
                    kToolchain);
    OpenTasks open = open_tasks(tasks, history, policies);
    REQUIRE(open.tasks.size() == 2);
    CHECK(open.tasks[0].tokens == std::vector<int64_t>{1});
    CHECK(open.known == 2);
    CHECK(open.trials.at(64).passed() == 1);
    CHECK(open.trials.at(1).passed() == 0);
    CHECK_FALSE(open.done({.few = {.fewest = 1}}, false));
    history.add(row(kSmall, 1, {10}));
    open = open_tasks(tasks, history, policies);
    CHECK(open.done({.few = {.fewest = 1}}, false));
    CHECK_FALSE(open.done({.few = {.fewest = 2}}, false));
    CHECK(open.done({.few = {.fewest = 2}},
                    true));  // the budget ended that search, and it has its winners
    open.tasks.front().candidate.origin = Origin::neighbour;
    CHECK_FALSE(open.done({.few = {.fewest = 1}}, true));
  }

  TEST_CASE("quick is sooner done with many tokens, each expert's where there are experts") {
    Device device = find_part("h100")->device;
    device.emulated = false;
    TuneRequest request{.tokens = {64}, .effort = Effort::quick};
    const auto fewest = [&](int64_t m) { return make_plan(request, device).patience.at(m).fewest; };
    CHECK(fewest(255) == fewest(1));
    CHECK(fewest(256) < fewest(255));
    CHECK(fewest(4096) == fewest(256));
    request.problem.experts = 128;
    CHECK(fewest(4096) == fewest(1));
    CHECK(fewest(256 * 128) < fewest(1));
    request.effort = Effort::full;
    CHECK(fewest(1 << 20) == fewest(1));
  }

  TEST_CASE("quick compiles at least sixty candidates for a real GPU, an emulated one only a few") {
    Device device = find_part("h100")->device;
    TuneRequest request{.tokens = {64}, .effort = Effort::quick};
    CHECK(make_plan(request, device).patience.at(64).fewest < 10);
    device.emulated = false;
    CHECK(make_plan(request, device).candidates >= 60);
    CHECK(make_plan(request, device).patience.at(64).fewest >= 40);
    CHECK(make_plan(request, device).budget < std::chrono::seconds(20));
    CHECK(make_plan(request, device).once);
    request.max_candidates = 5;
    request.budget = std::chrono::seconds(3);
    CHECK_FALSE(make_plan(request, device).once);  // who gives limits may ask for more than before
    CHECK(make_plan(request, device).candidates == 5);
    CHECK(make_plan(request, device).budget == std::chrono::seconds(3));
  }
}
