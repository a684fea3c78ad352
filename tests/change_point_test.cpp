// SPDX-License-Identifier: Apache-2.0
// Hand-made histories: where the step is, what is none, and what is too short to say. The rates on
// noisy ones are in change_point_rates_test.cpp.
#include "tuner/change_point.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "tuner/e_divisive.h"

using namespace nvfp4;

namespace {

// Runs that alternate by 0.2 %, `count` around each level.
std::vector<SeriesPoint> levels(const std::vector<std::pair<int, double>>& parts,
                                double clock_mhz = 0) {
  std::vector<SeriesPoint> series;
  for (const auto& [count, us] : parts) {
    for (int i = 0; i < count; ++i) {
      const double wave = series.size() % 2 == 0 ? 1.001 : 0.999;
      series.push_back({.us = us * wave, .clock_mhz = clock_mhz});
    }
  }
  return series;
}

std::vector<Step> steps(const std::vector<SeriesPoint>& series) { return find_steps(series).steps; }

}  // namespace

TEST_SUITE("change points") {
  TEST_CASE("a step is found in its place with its size") {
    for (double factor : {1.02, 0.98, 1.3}) {
      const std::vector<Step> found = steps(levels({{10, 20}, {6, 20 * factor}}));
      REQUIRE(found.size() == 1);
      CHECK(found[0].at == 10);
      CHECK(found[0].ratio == doctest::Approx(factor).epsilon(0.003));
      CHECK(found[0].p_value < 1e-6);
    }
  }

  TEST_CASE("equal histories give equal answers") {
    const std::vector<SeriesPoint> series = levels({{10, 20}, {6, 21}, {9, 20.5}});
    const std::vector<Step> once = steps(series);
    const std::vector<Step> again = steps(series);
    REQUIRE(once.size() == again.size());
    for (size_t i = 0; i < once.size(); ++i) {
      CHECK(once[i].at == again[i].at);
      CHECK(once[i].p_value == again[i].p_value);
    }
  }

  TEST_CASE("several steps are found, in order, in a history longer than the window") {
    const std::vector<Step> found = steps(levels({{20, 20}, {12, 21}, {25, 20}, {40, 20.6}}));
    REQUIRE(found.size() == 3);
    CHECK(found[0].at == 20);
    CHECK(found[1].at == 32);
    CHECK(found[2].at == 57);
    CHECK(found[1].ratio < 1);
  }

  TEST_CASE("a single outlier is never a step, wherever it is") {
    for (size_t place = 0; place < 20; ++place) {
      for (double factor : {0.5, 1.1, 3.0}) {
        std::vector<SeriesPoint> series = levels({{20, 20}});
        series[place].us *= factor;
        CHECK(steps(series).empty());
      }
    }
  }

  TEST_CASE("an outlier near a step moves it nowhere, one beside it by one run at most") {
    for (size_t place : {7, 8, 9, 10, 11, 12}) {
      std::vector<SeriesPoint> series = levels({{10, 20}, {6, 20.6}});
      series[place].us *= 1.08;
      const std::vector<Step> found = steps(series);
      REQUIRE_MESSAGE(found.size() == 1, place);
      const size_t off = found[0].at > 10 ? found[0].at - 10 : 10 - found[0].at;
      CHECK_MESSAGE(off <= (place == 9 || place == 10 ? 1 : 0), place);
    }
  }

  TEST_CASE("three slow runs are not yet a step, four are") {
    CHECK(steps(levels({{20, 20}, {3, 21}})).empty());
    CHECK(steps(levels({{20, 20}, {4, 21}})).size() == 1);
    CHECK(steps(levels({{20, 20}, {3, 21}, {10, 20}})).empty());
  }

  TEST_CASE("fewer than four runs say nothing, four show a step that nobody would miss") {
    for (int runs = 0; runs < 4; ++runs) {
      CHECK_FALSE(find_steps(levels({{runs, 20}})).tested);
    }
    CHECK(find_steps(levels({{4, 20}})).tested);
    CHECK(steps(levels({{2, 20}, {2, 20.4}})).empty());
    const std::vector<Step> found = steps(levels({{2, 20}, {2, 24}}));
    REQUIRE(found.size() == 1);
    CHECK(found[0].at == 2);
  }

  TEST_CASE("less than 1 % is no step, however certain") {
    CHECK(steps(levels({{14, 20}, {14, 20.18}})).empty());
    CHECK(steps(levels({{14, 20}, {14, 20.24}})).size() == 1);
    CHECK(steps(levels({{30, 20}})).empty());
  }

  TEST_CASE("times without any noise, as a model gives them, are judged like the rest") {
    std::vector<SeriesPoint> series(12, SeriesPoint{.us = 20});
    CHECK(steps(series).empty());
    for (size_t i = 7; i < 12; ++i) series[i].us = 20.5;
    REQUIRE(steps(series).size() == 1);
    CHECK(steps(series)[0].at == 7);
  }

  TEST_CASE("a slower clock explains a slower time, but no slower cycles") {
    // 2000 to 1900 MHz, 5.3 % in time: as many cycles as before.
    std::vector<SeriesPoint> series = levels({{10, 20}}, 2000);
    for (const SeriesPoint& point : levels({{8, 20 * 2000 / 1900.0}}, 1900))
      series.push_back(point);
    CHECK(steps(series).empty());
    // Another clock and the time is what it was: it waits for memory.
    for (size_t i = 10; i < series.size(); ++i) series[i].us *= 0.95;
    CHECK(steps(series).empty());
    // The clock did not move: a step.
    CHECK(steps(levels({{10, 20}, {8, 21}}, 2000)).size() == 1);
  }

  TEST_CASE("a step is seen through a clock that jumps") {
    std::vector<SeriesPoint> series = levels({{16, 20}, {8, 20.5}}, 1980);
    for (size_t i = 0; i < series.size(); i += 3) {
      series[i].clock_mhz = 1755;
      series[i].us *= 1980.0 / 1755;
    }
    const std::vector<Step> found = steps(series);
    REQUIRE(found.size() == 1);
    CHECK(found[0].at == 16);
    CHECK(found[0].ratio == doctest::Approx(1.025).epsilon(0.003));
  }

  TEST_CASE("among many series, a step must be the more certain") {
    const SeriesSteps doubtful{.tested = true,
                               .steps = {{.at = 5, .ratio = 1.02, .p_value = 5e-4}}};
    std::vector<SeriesSteps> few(3, {.tested = true});
    few[1] = doubtful;
    control_false_discoveries(few);
    CHECK(few[1].steps.size() == 1);
    std::vector<SeriesSteps> many(200, {.tested = true});
    many[1] = doubtful;
    control_false_discoveries(many);
    CHECK(many[1].steps.empty());
    // Series that were not tested are no tests.
    std::vector<SeriesSteps> short_ones(200);
    short_ones[1] = doubtful;
    control_false_discoveries(short_ones);
    CHECK(short_ones[1].steps.size() == 1);
  }
}

TEST_SUITE("energy distance") {
  TEST_CASE("the statistic is that of the paper") {
    // Parts {1, 2} and {4, 6, 7}: 2 * mean |x - y| = 2 * 25/6, mean |x - x'| = 1, mean |y - y'|
    // = 2.
    const std::vector<double> values = {1, 2, 4, 6, 7};
    CHECK(EnergyDistances(values).statistic(0, 2, 5) ==
          doctest::Approx(2.0 * 3 / 5 * (2 * 25 / 6.0 - 1 - 2)));
  }

  TEST_CASE("the best split may end before the values do") {
    const std::vector<double> values = {0, 0.1, 0, 0.1, 5, 5.1, 5, 5.1, 0, 0.1, 0, 0.1};
    const auto split = EnergyDistances(values).best_split(0, values.size(), 2);
    REQUIRE(split);
    CHECK(split->at == 4);
    CHECK(split->end == 8);
    CHECK_FALSE(EnergyDistances(values).best_split(0, 3, 2));
  }
}
