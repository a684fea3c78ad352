// SPDX-License-Identifier: Apache-2.0
// Every verdict and every doubt from hand-made pairs, then how often pairs of synthetic runs are
// judged rightly.
#include "tuner/verdict.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <string>
#include <vector>

#include "tests/synthetic_history.h"
#include "tests/tuning_db_fixture.h"
#include "tuner/noise_floor.h"

using namespace nvfp4;

namespace {

// 15 samples with quartiles 0.4 % apart.
Measurement run_of(double us, const std::string& code = "a", double clock_mhz = 1980) {
  Measurement row = measurement_of(config_of(16), 64, us);
  row.kernel.code_hash = code;
  row.samples_us.clear();
  for (int i = -7; i <= 7; ++i) {
    row.samples_us.push_back(static_cast<float>(us * (1 + 0.00057 * i)));
  }
  const Quartiles q = quartiles(row.samples_us);
  row.timing.median_us = q.median;
  row.timing.q1_us = q.q1;
  row.timing.q3_us = q.q3;
  row.timing.samples = 15;
  row.timing.clock_mhz = clock_mhz;
  return row;
}

Measurement failing(Verdict verdict) { return failed(config_of(16), 64, verdict, "at m = 3"); }

void doubted(const Judgement& judgement, const std::string& code) {
  CHECK(judgement.change == Change::ambiguous);
  CHECK_MESSAGE(judgement.reason.starts_with(code + ": "), judgement.reason);
  CHECK_MESSAGE(judgement.reason.ends_with("nvfp4-tune bench --record --shape 4096,4096 --M 64"),
                judgement.reason);
}

}  // namespace

TEST_SUITE("verdicts") {
  TEST_CASE("equal machine code is unchanged, and says when the machine is not") {
    const Judgement small = judge(run_of(20), run_of(20.1), 0.01);
    CHECK(small.change == Change::unchanged);
    CHECK(small.reason.empty());
    CHECK(small.ratio == doctest::Approx(1.005));
    const Judgement large = judge(run_of(20), run_of(24), 0.01);
    CHECK(large.change == Change::unchanged);
    CHECK(large.reason == "20.0 % slower, but the machine code is the same: the machine changed");
  }

  TEST_CASE("of two times alone the machine code is no excuse, and doubts name no command") {
    CHECK(judge_times(run_of(20), run_of(24), 0.01).change == Change::slower);
    CHECK(judge_times(run_of(24), run_of(20), 0.01).change == Change::faster);
    CHECK(judge_times(run_of(20), run_of(20.02), 0.01).change == Change::same);
    CHECK(judge_times(run_of(20), run_of(20.5), 0.03).reason ==
          "floor: 2.5 % slower, the quartiles are not 3.0 % apart");
  }

  TEST_CASE("what settles a doubt about a grouped problem is its own tuning") {
    Measurement base = run_of(20), now = run_of(20.5, "b");
    for (Measurement* row : {&base, &now}) {
      row->problem.kind = ProblemKind::grouped;
      row->problem.experts = 8;
    }
    const Judgement judgement = judge(base, now, 0.03);
    CHECK(judgement.change == Change::ambiguous);
    CHECK(judgement.reason.ends_with(
        "; to settle: nvfp4-tune --shape 4096,4096 --experts 8 --M 64 --force"));
  }

  TEST_CASE("unknown machine code is equal to none") {
    CHECK(judge(run_of(20, ""), run_of(24, ""), 0.01).change == Change::slower);
  }

  TEST_CASE("a kernel that fails the gate is broken, even with the same machine code") {
    for (Verdict verdict :
         {Verdict::wrong, Verdict::nondeterministic, Verdict::out_of_bounds, Verdict::fault,
          Verdict::hang, Verdict::compile_error, Verdict::spill}) {
      Measurement now = failing(verdict);
      now.kernel.code_hash = "a";
      const Judgement judgement = judge(run_of(20), now, 0.01);
      CHECK(judgement.change == Change::broken);
      CHECK(judgement.reason == fmt::format("{}: at m = 3", name(verdict)));
      CHECK(judgement.ratio == 0);
    }
    CHECK(judge(failing(Verdict::wrong), failing(Verdict::wrong), 0.01).change ==
          Change::unchanged);
    CHECK(judge(failing(Verdict::wrong), run_of(20), 0.01).change == Change::added);
    doubted(judge(run_of(20), failing(Verdict::too_noisy), 0.01), "too-noisy");
  }

  TEST_CASE("a gap beyond the noise in time and in cycles is slower or faster") {
    const Judgement slower = judge(run_of(20), run_of(20.5, "b"), 0.013);
    CHECK(slower.change == Change::slower);
    CHECK(slower.reason.empty());
    CHECK(slower.ratio == doctest::Approx(1.025));
    CHECK(slower.ratio_lo < slower.ratio);
    CHECK(slower.ratio_hi > slower.ratio);
    CHECK(slower.cycles_ratio == doctest::Approx(1.025));
    CHECK(judge(run_of(20.5), run_of(20, "b"), 0.013).change == Change::faster);
  }

  TEST_CASE("less than the noise, or less than half a percent, is no gap") {
    doubted(judge(run_of(20), run_of(20.5, "b"), 0.03), "floor");
    doubted(judge(run_of(20), run_of(20.15, "b"), 0), "floor");
    doubted(judge(run_of(20), run_of(20.06, "b"), 0.03), "overlap");
  }

  TEST_CASE("intervals that overlap by half with equal medians are the same") {
    CHECK(judge(run_of(20), run_of(20.02, "b"), 0.01).change == Change::same);
    CHECK(judge(run_of(20.02), run_of(20, "b"), 0.01).change == Change::same);
  }

  TEST_CASE("a slower clock is no slower kernel") {
    doubted(judge(run_of(20), run_of(22.5, "b", 1755), 0.01), "clock");
    CHECK(judge(run_of(20), run_of(23.5, "b", 1755), 0.01).change == Change::slower);
    doubted(judge(run_of(20), run_of(22, "b", 0), 0.01), "clock-unknown");
    Measurement throttled = run_of(22, "b");
    throttled.timing.throttled = true;
    doubted(judge(run_of(20), throttled, 0.01), "throttled");
  }

  TEST_CASE("quartiles of a few samples, or of none, prove nothing") {
    Measurement old = run_of(20);
    old.samples_us.clear();
    old.timing.samples = 0;
    doubted(judge(old, run_of(22, "b"), 0.01), "few-samples");
    doubted(judge(old, run_of(20.2, "b"), 0.01), "few-samples");
  }

  TEST_CASE("quartiles apart do not outweigh ranks that are mixed") {
    // The quarter of each that lies beyond the other's quartiles, and then some.
    Measurement base = run_of(20);
    Measurement now = run_of(21, "b");
    base.samples_us = {19, 20, 20, 20, 20, 20, 20, 25, 25, 25};
    now.samples_us = {19, 19, 19, 21, 21, 21, 21, 21, 21, 22};
    doubted(judge(base, now, 0.01), "ranks");
  }

  TEST_CASE("modelled times have neither samples nor noise, and are compared as they are") {
    Measurement base = measurement_of(config_of(16), 64, 20, Provenance::modelled);
    base.timing.q1_us = base.timing.q3_us = 20;
    base.timing.samples = 0;
    base.timing.clock_mhz = 0;
    base.samples_us.clear();
    Measurement now = base;
    CHECK(judge(base, now, 0.05).change == Change::unchanged);
    now.kernel.code_hash = "other";
    CHECK(judge(base, now, 0.05).change == Change::same);
    now.timing.median_us = now.timing.q1_us = now.timing.q3_us = 20.2;
    CHECK(judge(base, now, 0.05).change == Change::slower);
    CHECK(judge(now, base, 0.05).change == Change::faster);
  }
}

TEST_SUITE("noise floor") {
  TEST_CASE("it is three deviations of unchanged kernels, by M where there are enough") {
    NoiseFloor floor;
    CHECK(floor.at(1) == doctest::Approx(0.013));
    for (int i = 0; i < 8; ++i) floor.add(1, i % 2 == 0 ? 1.002 : 1 / 1.002);
    CHECK(floor.at(1) == doctest::Approx(0.0089).epsilon(0.01));
    CHECK(floor.at(4096) == floor.at(1));
    for (int i = 0; i < 8; ++i) floor.add(4096, 1.03);
    CHECK(floor.at(4096) > 0.13);
    CHECK(floor.at(1) == doctest::Approx(0.0089).epsilon(0.01));
    CHECK(floor.pairs() == 16);
  }

  TEST_CASE("one run that was slow does not raise it") {
    NoiseFloor floor;
    for (int i = 0; i < 9; ++i) floor.add(1, 1.002);
    floor.add(1, 1.5);
    CHECK(floor.at(1) < 0.01);
  }
}

TEST_SUITE("verdict rates") {
  TEST_CASE(
      "new code of the same speed is called slower or faster where a run was an outlier, else "
      "not") {
    fmt::print("| {:34} | {:14} | {:6} | {:6} | {:6} |\n", "noise", "false of 1000", "+2 %", "+3 %",
               "+5 %");
    const auto verdicts = [](const NoiseModel& noise, double factor, Change wanted) {
      NoiseFloor floor;
      int count = 0;
      for (uint64_t seed = 0; seed < 1000; ++seed) {
        SyntheticHistory history(noise, seed);
        const auto row = [&](double at, const char* code) {
          const SyntheticRun run = history.next(at);
          Measurement m = run_of(20, code, run.clock_mhz);
          const Quartiles q = quartiles(run.samples_us);
          m.samples_us = run.samples_us;
          m.timing.median_us = q.median;
          m.timing.q1_us = q.q1;
          m.timing.q3_us = q.q3;
          return m;
        };
        floor.add(64, judge(row(1, "a"), row(1, "a"), 0).ratio);
        const Judgement judgement = judge(row(1, "a"), row(factor, "b"), floor.at(64));
        count += judgement.change == wanted;
      }
      return count;
    };
    for (const auto& [name, noise, most] :
         {std::tuple("no outliers, quartiles 0.3 %", NoiseModel{.quartiles = 0.003, .outliers = 0},
                     1),
          std::tuple("no outliers, quartiles 1 %", NoiseModel{.quartiles = 0.01, .outliers = 0}, 1),
          std::tuple("quartiles 0.7 %", NoiseModel{}, 70),
          std::tuple("computes, 3 of 10 at 1755 MHz",
                     NoiseModel{.outliers = 0, .slow_clock = 0.3, .computes = true}, 1),
          std::tuple("reads memory, the same", NoiseModel{.outliers = 0, .slow_clock = 0.3}, 1)}) {
      const int wrong = verdicts(noise, 1, Change::slower) + verdicts(noise, 1, Change::faster);
      fmt::print("| {:34} | {:14} | {:6.1f} | {:6.1f} | {:6.1f} |\n", name, wrong,
                 verdicts(noise, 1.02, Change::slower) / 10.0,
                 verdicts(noise, 1.03, Change::slower) / 10.0,
                 verdicts(noise, 1.05, Change::slower) / 10.0);
      CHECK(wrong <= most);
    }
  }
}
