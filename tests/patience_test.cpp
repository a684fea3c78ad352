// SPDX-License-Identifier: Apache-2.0
// When the search at one M has tried enough.
#include "tuner/patience.h"

#include <doctest/doctest.h>

#include <vector>

#include "tuner/history.h"

using namespace nvfp4;

namespace {

const Toolchain kToolchain{.nvrtc = "13.0", .driver = "580", .template_digest = "d"};
const Policy kGraph[] = {Policy::graph};
const Policy kBoth[] = {Policy::graph, Policy::graph_pdl};

Measurement row(int64_t id, int block_n, double us, Policy policy = Policy::graph) {
  Measurement m;
  m.id = id;
  m.m = 8;
  m.policy = policy;
  m.verdict = Verdict::ok;
  m.toolchain = kToolchain;
  m.kernel.config.block_n = block_n;
  m.timing.median_us = us;
  return m;
}

Trials tried(std::vector<double> times) {
  Trials trials;
  for (double us : times) trials.pass(std::vector{row(0, 16, us)});
  return trials;
}

}  // namespace

TEST_SUITE("patience") {
  TEST_CASE("an M is done after the fewest, and then after as many without a gain") {
    CHECK(tried({}).wanted({.fewest = 3}) == 3);
    CHECK(tried({9, 8, 7}).wanted({.fewest = 3}) == 0);
    CHECK(tried({9, 8, 7}).wanted({.fewest = 3, .fruitless = 2}) == 2);
    CHECK(tried({9, 8, 7, 7, 8}).wanted({.fewest = 3, .fruitless = 2}) == 0);
    CHECK(tried({7, 7, 8, 6}).wanted({.fewest = 3, .fruitless = 2}) == 2);
    CHECK(tried({7, 8, 9}).wanted({}) > 1'000'000);
  }

  TEST_CASE(
      "one patience is for every M, two are for fewer tokens than the boundary and for others") {
    const Patiences one{.few = {.fewest = 5}};
    CHECK(one.at(1).fewest == 5);
    CHECK(one.at(1 << 20).fewest == 5);
    const Patiences two{.few = {.fewest = 5}, .many = {.fewest = 3}, .boundary = 256};
    CHECK(two.at(255).fewest == 5);
    CHECK(two.at(256).fewest == 3);
  }

  TEST_CASE("less than half a percent is no gain, however often it comes") {
    CHECK(tried({100, 99.6, 99.2, 98.8}).wanted({.fewest = 1, .fruitless = 3}) == 0);
    CHECK(tried({100, 100, 99.4}).wanted({.fewest = 1, .fruitless = 3}) == 3);
  }

  TEST_CASE("a gain under any policy is one") {
    Trials trials;
    const auto pass = [&](double graph, double pdl) {
      trials.pass(std::vector{row(0, 16, graph), row(0, 16, pdl, Policy::graph_pdl)});
    };
    pass(10, 9);
    pass(11, 9.5);
    pass(10, 8);
    CHECK(trials.wanted({.fewest = 1, .fruitless = 2}) == 2);
    pass(10, 8);
    CHECK(trials.wanted({.fewest = 1, .fruitless = 2}) == 1);
  }

  TEST_CASE("a place kept for a suspect counts as tried") {
    Trials trials = tried({10});
    trials.reserve();
    CHECK(trials.wanted({.fewest = 2, .fruitless = 1}) == 0);
  }

  TEST_CASE("the past counts each config once, in the order of its first rows, failures never") {
    Measurement hung = row(5, 96, 1);
    Measurement failure = row(6, 96, 0);
    failure.verdict = Verdict::hang;
    Measurement elsewhere = row(7, 112, 1);
    elsewhere.m = 16;
    // Row 4 is of the finals: that config has been tried before.
    const History history(
        {row(3, 48, 9), row(1, 16, 10), row(2, 32, 12), row(4, 16, 8), hung, failure, elsewhere},
        kToolchain);
    const Trials trials = history.trials(8, kGraph);
    CHECK(trials.passed() == 3);
    CHECK(trials.wanted({.fewest = 1, .fruitless = 3}) == 3);
    CHECK(history.trials(32, kGraph).passed() == 0);
  }

  TEST_CASE("where two policies are asked for, a config passes with the second") {
    const History history({row(1, 16, 10), row(2, 32, 9), row(3, 16, 9, Policy::graph_pdl)},
                          kToolchain);
    CHECK(history.trials(8, kBoth).passed() == 1);
    CHECK(history.trials(8, kGraph).passed() == 2);
  }
}
