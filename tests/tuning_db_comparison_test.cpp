// SPDX-License-Identifier: Apache-2.0
// Runs, what they say when they are compared, and where winners come from.
#include <doctest/doctest.h>

#include <limits>

#include "tests/tuning_db_fixture.h"

namespace nvfp4 {
namespace {

TuningDb memory() { return TuningDb("", Access::memory); }

TEST_CASE("a run comes back exactly as it was added, whatever it was for") {
  TuningDb database = memory();
  std::vector<RunRecord> runs;
  for (const Purpose purpose : {Purpose::tune, Purpose::bench, Purpose::imported}) {
    RunRecord run = run_on(h100());
    run.purpose = purpose;
    run.id = database.add_run(run);
    runs.push_back(run);
  }
  CHECK(database.runs() == runs);
  RunRecord lying = run_on(h100());
  lying.stream_gbps = std::numeric_limits<double>::infinity();
  CHECK_THROWS_WITH_AS(database.add_run(lying), doctest::Contains("ceiling inf"), DatabaseError);
}

TEST_CASE("what runs say when they are compared comes back exactly as it was added") {
  TuningDb database = memory();
  const int64_t base = database.add_run(run_on(h100()));
  const int64_t run = database.add_run(run_on(h100()));
  const int64_t measured = database.add(run, measurement_of(config_of(8), 1, 3));
  Comparison slower{.base_run = base,
                    .run = run,
                    .problem = square_problem(),
                    .m = 1,
                    .question = Question::best_config,
                    .verdict = Change::slower,
                    .reason = "clock 1755 MHz in both",
                    .measurement = measured,
                    .ratio = 1.05,
                    .ratio_lo = 1.04,
                    .ratio_hi = 1.06,
                    .cycles_ratio = 1.05};
  slower.id = database.add(slower);
  ChangePoint step{.problem = square_problem(), .m = 1, .run = run, .ratio = 1.05, .p_value = 0.01};
  step.id = database.add(step);
  Rival rival{.run = run,
              .problem = square_problem(),
              .m = 1,
              .name = "cublas_bf16",
              .median_us = 10,
              .q1_us = 9.9,
              .q3_us = 10.5,
              .samples = 15};
  rival.id = database.add(rival);
  CHECK(database.comparisons() == std::vector<Comparison>{slower});
  CHECK(database.change_points() == std::vector<ChangePoint>{step});
  CHECK(database.rivals() == std::vector<Rival>{rival});

  const auto refused = [&](auto record, auto change) {
    change(record);
    CHECK_THROWS_AS(database.add(record), DatabaseError);
  };
  refused(slower, [](Comparison& c) { c.run = 77; });
  refused(slower, [](Comparison& c) { c.base_measurement = 77; });
  refused(slower, [](Comparison& c) { c.ratio = std::numeric_limits<double>::quiet_NaN(); });
  refused(slower, [](Comparison& c) { c.ratio_lo = 1.055; });
  refused(step, [](ChangePoint& c) { c.ratio = 0; });
  refused(step, [](ChangePoint& c) { c.p_value = 1.5; });
  refused(step, [](ChangePoint& c) { c.m = 0; });
  refused(rival, [](Rival& r) { r.q3_us = 9.95; });
  refused(rival, [](Rival& r) { r.name = ""; });
  refused(rival, [](Rival& r) { r.problem.experts = 8; });
  CHECK(database.warnings().empty());
}

TEST_CASE("the names of changes, purposes, origins and questions parse back") {
  for (int i = 0; i <= static_cast<int>(Change::missing); ++i) {
    CHECK(parse_change(name(static_cast<Change>(i))) == static_cast<Change>(i));
  }
  CHECK(parse_purpose("import") == Purpose::imported);
  CHECK(parse_origin("imported") == WinnerOrigin::imported);
  CHECK(parse_question("best_config") == Question::best_config);
  CHECK(!parse_purpose("fun"));
  CHECK(!parse_origin("stolen"));
}

TEST_CASE("an imported winner stands beside a tuned one until the next is tuned") {
  TuningDb database = memory();
  const int64_t run = database.add_run(run_on(h100()));
  const auto store = [&](const KernelConfig& config, WinnerOrigin origin) {
    const Measurement row = measurement_of(config, 64, 12.5);
    Winner winner = winner_of(h100(), row, database.add(run, row));
    winner.origin = origin;
    database.store(winner);
  };
  store(config_of(64), WinnerOrigin::tuned);
  store(config_of(32), WinnerOrigin::imported);
  store(config_of(16), WinnerOrigin::imported);
  std::vector<Winner> winners = database.winners();
  REQUIRE(winners.size() == 2);
  CHECK(winners[0].config == config_of(64));
  CHECK(winners[1].config == config_of(16));
  CHECK(winners[1].origin == WinnerOrigin::imported);
  store(config_of(8), WinnerOrigin::tuned);
  winners = database.winners();
  REQUIRE(winners.size() == 1);
  CHECK(winners[0].config == config_of(8));
}

}  // namespace
}  // namespace nvfp4
