// SPDX-License-Identifier: Apache-2.0
#include "tuning_db/merge.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <set>

#include "generator/config_text.h"
#include "tests/tuning_db_fixture.h"

using namespace nvfp4;

namespace {

TuningDb memory() { return TuningDb("", Access::memory); }

/// A row of a run that nobody else made.
struct Point {
  int host = 0;
  int64_t m = 1;
  int block_m = 8;
  double us = 4;
  int samples = 15;
  WinnerOrigin origin = WinnerOrigin::tuned;
};

void tuned(TuningDb& database, const Point& p) {
  RunRecord run = run_on(h100());
  run.command = fmt::format("nvfp4-tune --shard {}/4", p.host);
  run.purpose = p.origin == WinnerOrigin::tuned ? Purpose::tune : Purpose::imported;
  Measurement row = measurement_of(config_of(p.block_m), p.m, p.us);
  row.timing.samples = p.samples;
  Winner winner = winner_of(h100(), row, database.add(database.add_run(run), row));
  winner.origin = p.origin;
  database.store(winner);
}

TuningDb with(std::initializer_list<Point> points) {
  TuningDb database = memory();
  for (const Point& point : points) tuned(database, point);
  return database;
}

/// What a database says, ids aside.
struct Contents {
  std::multiset<std::string> runs, measurements, winners;
  friend bool operator==(const Contents&, const Contents&) = default;
};

Contents contents(TuningDb& database) {
  Contents all;
  std::map<int64_t, std::string> runs, rows;
  for (const RunRecord& run : database.runs()) {
    runs[run.id] = fmt::format("{} {} {}", run.command, run.date, name(run.purpose));
    all.runs.insert(runs[run.id]);
  }
  for (const Measurement& r : database.measurements()) {
    rows[r.id] =
        fmt::format("{} m={} {} {} us n={} of {}", config_text(r.kernel.config), r.m,
                    key_text(r.problem), r.timing.median_us, r.timing.samples, runs.at(r.run));
    all.measurements.insert(rows[r.id]);
  }
  for (const Winner& w : database.winners()) {
    all.winners.insert(fmt::format("{} {}..{} {}", rows.at(w.evidence), w.interval.lo,
                                   w.interval.hi, name(w.origin)));
  }
  return all;
}

void merge_one(TuningDb& into, TuningDb& from) {
  TuningDb* const sources[] = {&from};
  merge(into, sources);
}

const Winner& only(const std::vector<Winner>& winners) {
  REQUIRE(winners.size() == 1);
  return winners.front();
}

TuningDb random_database(std::mt19937& random) {
  TuningDb database = memory();
  const auto any = [&](int below) { return static_cast<int>(random() % below); };
  for (int rows = any(7); rows > 0; --rows) {
    tuned(database, {.host = any(3),
                     .m = 1 + any(3),
                     .block_m = 8 << any(3),
                     .us = 4 + 0.02 * any(6),
                     .samples = 5 * (1 + any(3)),
                     .origin = any(4) == 0 ? WinnerOrigin::imported : WinnerOrigin::tuned});
  }
  return database;
}

}  // namespace

TEST_SUITE("merge") {
  TEST_CASE("rows of both are kept with their runs, and equal ones are one") {
    TuningDb a = with({{.host = 0, .m = 1}, {.host = 0, .m = 2}});
    TuningDb b = with({{.host = 0, .m = 2}, {.host = 1, .m = 4}});
    TuningDb* const sources[] = {&b};
    const MergeCounts counts = merge(a, sources);
    CHECK(counts.runs == 1);
    CHECK(counts.measurements == 1);
    CHECK(counts.winners == 1);
    CHECK(a.winners().size() == 3);
    CHECK(a.measurements().size() == 3);
    for (const Winner& w : a.winners()) CHECK(w.expected_us == 4);
    CHECK(a.warnings().empty());
  }

  TEST_CASE("a time whose quartiles lie below the other's wins, with fewer samples too") {
    TuningDb a = with({{.host = 0, .block_m = 8, .us = 4, .samples = 100}});
    TuningDb b = with({{.host = 1, .block_m = 16, .us = 3.9, .samples = 5}});
    merge_one(a, b);
    CHECK(only(a.winners()).config == config_of(16));
    CHECK(a.measurements().size() == 2);
  }

  TEST_CASE("of two that cannot be told apart the one with more samples wins") {
    TuningDb a = with({{.host = 0, .block_m = 8, .us = 4.00, .samples = 100}});
    TuningDb b = with({{.host = 1, .block_m = 16, .us = 3.97, .samples = 5}});
    merge_one(b, a);
    CHECK(only(b.winners()).config == config_of(8));
  }

  TEST_CASE("winners of other cards, policies and Ms do not compete") {
    TuningDb a = with({{.m = 1}});
    TuningDb b = memory();
    Device other = h100();
    other.sm_count = 114;
    add_winner(b, b.add_run(run_on(other)), other, measurement_of(config_of(8), 1, 4));
    Measurement eager = measurement_of(config_of(8), 1, 4);
    eager.policy = Policy::eager;
    add_winner(b, b.add_run(run_on(h100())), h100(), eager);
    merge_one(a, b);
    CHECK(a.winners().size() == 3);
  }

  TEST_CASE("what was compared comes along, with the ids of its new home") {
    TuningDb a = with({{.host = 0}, {.host = 1}});
    TuningDb b = with({{.host = 2}});
    const int64_t run = b.runs().back().id;
    b.add(Comparison{.base_run = run,
                     .run = run,
                     .problem = square_problem(),
                     .m = 1,
                     .verdict = Change::same,
                     .base_measurement = b.measurements().back().id,
                     .ratio = 1,
                     .ratio_lo = 1,
                     .ratio_hi = 1});
    b.add(ChangePoint{.problem = square_problem(), .m = 1, .run = run, .ratio = 2, .p_value = 0});
    b.add(Rival{.run = run,
                .problem = square_problem(),
                .m = 1,
                .name = "marlin",
                .median_us = 5,
                .q1_us = 5,
                .q3_us = 5});
    merge_one(a, b);
    merge_one(a, b);
    REQUIRE(a.comparisons().size() == 1);
    CHECK(a.comparisons()[0].run == 3);
    CHECK(a.comparisons()[0].base_measurement == 3);
    CHECK(a.change_points().size() == 1);
    REQUIRE(a.rivals().size() == 1);
    CHECK(a.rivals()[0].run == 3);
  }

  TEST_CASE("the order of databases does not matter, and a second time changes nothing") {
    std::mt19937 random(20261127);
    for (int round = 0; round < 60; ++round) {
      TuningDb a = random_database(random);
      TuningDb b = random_database(random);
      TuningDb c = random_database(random);
      TuningDb* orders[][3] = {{&a, &b, &c}, {&c, &a, &b}, {&b, &c, &a}, {&c, &b, &a}};
      TuningDb first = memory();
      merge(first, orders[0]);
      const Contents expected = contents(first);
      for (auto& order : orders) {
        TuningDb other = memory();
        merge(other, order);
        CHECK(contents(other) == expected);
      }
      const MergeCounts again = merge(first, orders[1]);
      CHECK(contents(first) == expected);
      CHECK(again.runs + again.measurements + again.winners == 0);

      TuningDb ab = memory(), ba = memory();
      merge_one(ab, a);
      merge_one(ab, b);
      merge_one(ba, b);
      merge_one(ba, a);
      CHECK(contents(ab) == contents(ba));
      const Contents before = contents(ab);
      merge_one(ab, b);
      CHECK(contents(ab) == before);
    }
  }

  TEST_CASE("a merge that fails half way changes nothing") {
    TuningDb a = with({{.host = 0}});
    const Contents before = contents(a);
    TuningDb b = with({{.host = 1, .m = 2}});
    {
      Merger merger(a);
      merger.everything(b, {});
    }
    CHECK(contents(a) == before);
  }
}
