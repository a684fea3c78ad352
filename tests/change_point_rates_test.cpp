// SPDX-License-Identifier: Apache-2.0
// How many steps are found and how many are invented, on synthetic histories that are analysed
// after every run, as a nightly job does. The rates are printed; CONTRIBUTING.md quotes them.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "tests/synthetic_history.h"
#include "tuner/change_point.h"

using namespace nvfp4;

namespace {

constexpr int kFamily = 200;  // series of one analysis: 100 cells under two policies
constexpr int kRuns = 40;

// Of 1000 series without a step, those in which one is reported after any of 40 runs.
int false_alarms(const NoiseModel& noise) {
  int alarms = 0;
  for (uint64_t first = 0; first < 1000; first += kFamily) {
    std::vector<SyntheticHistory> histories;
    std::vector<std::vector<SeriesPoint>> series(kFamily);
    std::vector<bool> alarmed(kFamily);
    for (int i = 0; i < kFamily; ++i) histories.emplace_back(noise, first + i);
    for (int run = 0; run < kRuns; ++run) {
      std::vector<SeriesSteps> found;
      for (int i = 0; i < kFamily; ++i) {
        series[i].push_back(histories[i].next().point());
        found.push_back(find_steps(series[i]));
      }
      control_false_discoveries(found);
      for (int i = 0; i < kFamily; ++i) alarmed[i] = alarmed[i] || !found[i].steps.empty();
    }
    alarms += static_cast<int>(std::count(alarmed.begin(), alarmed.end(), true));
  }
  return alarms;
}

// Percent of 400 series with a step after `before` runs in which it is reported within 5 runs, in
// its place and direction, although it is the only one of its family.
double found(const NoiseModel& noise, double factor, int before = 25) {
  constexpr int kSeries = 400;
  int count = 0;
  for (uint64_t seed = 0; seed < kSeries; ++seed) {
    SyntheticHistory history(noise, 1'000'000 + seed);
    std::vector<SeriesPoint> series;
    for (int run = 0; run < before; ++run) series.push_back(history.next().point());
    bool seen = false;
    for (int run = 0; run < 5 && !seen; ++run) {
      series.push_back(history.next(factor).point());
      std::vector<SeriesSteps> family(kFamily, {.tested = true});
      family[0] = find_steps(series);
      control_false_discoveries(family);
      for (const Step& step : family[0].steps) {
        const bool there = std::abs(static_cast<double>(step.at) - before) <= 1;
        seen = seen || (there && (step.ratio > 1) == (factor > 1));
      }
    }
    count += seen;
  }
  return 100.0 * count / kSeries;
}

struct Rates {
  int alarms = 0;
  double one = 0;
  double two = 0;
  double faster = 0;
  double five = 0;
  double early = 0;
};

Rates shown(const char* name, const NoiseModel& noise) {
  const Rates r{.alarms = false_alarms(noise),
                .one = found(noise, 1.01),
                .two = found(noise, 1.02),
                .faster = found(noise, 0.98),
                .five = found(noise, 1.05),
                .early = found(noise, 1.02, 12)};
  fmt::print("| {:52} | {:6} | {:5.1f} | {:5.1f} | {:5.1f} | {:5.1f} | {:5.1f} |\n", name, r.alarms,
             r.one, r.two, r.faster, r.five, r.early);
  std::fflush(stdout);
  return r;
}

void print_head() {
  fmt::print("| {:52} | {:6} | {:5} | {:5} | {:5} | {:5} | {:5} |\n", "noise", "alarms", "+1 %",
             "+2 %", "-2 %", "+5 %", "early");
}

}  // namespace

TEST_SUITE("change point rates") {
  TEST_CASE("a step of 2 % is found within 5 runs in 95 %, and at most 1 series of 1000 alarms") {
    print_head();
    for (const auto& [name, noise] : {
             std::pair("quartiles 0.3 %, run to run 0.3 %", NoiseModel{.quartiles = 0.003}),
             std::pair("quartiles 0.7 %", NoiseModel{}),
             std::pair("quartiles 1 %", NoiseModel{.quartiles = 0.01}),
             std::pair("no outliers", NoiseModel{.outliers = 0}),
             std::pair("computes, 3 runs in 10 at 1755 of 1980 MHz",
                       NoiseModel{.slow_clock = 0.3, .computes = true}),
             std::pair("reads memory, the same clocks", NoiseModel{.slow_clock = 0.3}),
             std::pair("drift of 1 % in 100 runs", NoiseModel{.drift = 0.01}),
         }) {
      const Rates rates = shown(name, noise);
      CHECK(rates.alarms <= 1);
      CHECK(rates.two >= 95);
      CHECK(rates.faster >= 95);
      CHECK(rates.five >= 99);
    }
  }

  TEST_CASE("a clock that is lowered for good is no step of the kernel") {
    for (bool computes : {true, false}) {
      const int alarms = false_alarms({.lowered_after = 20, .computes = computes});
      fmt::print("1755 instead of 1980 MHz after run 20, {}: {} alarms\n",
                 computes ? "computes" : "reads memory", alarms);
      CHECK(alarms <= 1);
    }
  }

  // What noise costs; nothing is promised here but that it is not hidden.
  TEST_CASE("more noise hides small steps before it invents any") {
    CHECK(shown("quartiles 1.3 %, run to run 0.5 %", {.quartiles = 0.013, .run = 0.005}).five > 95);
    CHECK(shown("quartiles 1.3 %, run to run 1 %", {.quartiles = 0.013, .run = 0.01}).alarms <= 10);
    CHECK(shown("quartiles 4 %, run to run 4 % (M >= 128)", {.quartiles = 0.04, .run = 0.04})
              .alarms <= 10);
    shown("one run in 10 is slow by 2 to 10 %", {.outliers = 0.1});
    shown("drift of 3 % in 100 runs", {.drift = 0.03});
    shown("computes, two clocks that are not known",
          {.slow_clock = 0.3, .computes = true, .clock_known = false});
  }
}
