// SPDX-License-Identifier: Apache-2.0
#include "tuning_db/merge.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
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
  double spread = 0.01;  ///< of the quartiles, either side
  int64_t hi = 0;        ///< beyond the tile's end
  WinnerOrigin origin = WinnerOrigin::tuned;
};

void tuned(TuningDb& database, const Point& p) {
  RunRecord run = run_on(h100());
  run.command = fmt::format("nvfp4-tune --shard {}/4", p.host);
  run.purpose = p.origin == WinnerOrigin::tuned ? Purpose::tune : Purpose::imported;
  Measurement row = measurement_of(config_of(p.block_m), p.m, p.us);
  row.timing.samples = p.samples;
  row.timing.q1_us = p.us * (1 - p.spread);
  row.timing.q3_us = p.us * (1 + p.spread);
  Winner winner = winner_of(h100(), row, database.add(database.add_run(run), row));
  winner.interval.hi += p.hi;
  winner.origin = p.origin;
  database.store(winner);
}

TuningDb with(std::initializer_list<Point> points) {
  TuningDb database = memory();
  for (const Point& point : points) tuned(database, point);
  return database;
}

/// What a database says: rows that say the same are one, and ids are not looked at.
struct Contents {
  std::set<std::string> runs, measurements, winners, comparisons;
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
    all.winners.insert(fmt::format("{} {}..{} {} {}", rows.at(w.evidence), w.interval.lo,
                                   w.interval.hi, w.regret_bound.value_or(-1), name(w.origin)));
  }
  for (const Comparison& c : database.comparisons()) {
    all.comparisons.insert(fmt::format("{} | {} | {} {}", runs.at(c.base_run), runs.at(c.run),
                                       name(c.verdict), c.ratio));
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

/// Rows, winners and comparisons that others have too, or have otherwise. The more samples a time
/// has the later it is, mostly: chains of overlapping quartiles, in which who meets first matters
/// to a rule that lets it.
TuningDb random_database(std::mt19937& random) {
  TuningDb database = memory();
  const auto any = [&](int below) { return static_cast<int>(random() % below); };
  for (int rows = 1 + any(3); rows > 0; --rows) {
    const int step = any(6);
    tuned(database, {.host = any(3),
                     .m = 1 + any(2),
                     .block_m = 8 << any(3),
                     .us = 4 + 0.03 * step,
                     .samples = 5 << (any(4) == 0 ? any(6) : step),
                     .spread = 0.004 * (2 + any(3)),
                     .hi = any(3),
                     .origin = any(4) == 0 ? WinnerOrigin::imported : WinnerOrigin::tuned});
  }
  const std::vector<RunRecord> runs = database.runs();
  for (int rows = runs.empty() ? 0 : any(3); rows > 0; --rows) {
    const double ratio = 1 + any(3);
    database.add(Comparison{.base_run = runs[any(static_cast<int>(runs.size()))].id,
                            .run = runs[any(static_cast<int>(runs.size()))].id,
                            .problem = square_problem(),
                            .m = 1,
                            .verdict = Change::same,
                            .ratio = ratio,
                            .ratio_lo = ratio,
                            .ratio_hi = ratio});
  }
  return database;
}

TuningDb copy_of(TuningDb& database) {
  TuningDb copy = memory();
  merge_one(copy, database);
  return copy;
}

/// Every database that can be made of `parts` by commands of two files each: all orders, all
/// parentheses. `say` sees what each of them holds.
void merge_in_every_way(const std::vector<TuningDb*>& parts,
                        const std::function<void(const Contents&)>& say) {
  if (parts.size() == 1) say(contents(*parts[0]));
  for (TuningDb* into : parts) {
    for (TuningDb* from : parts) {
      if (into == from) continue;
      TuningDb both = copy_of(*into);
      merge_one(both, *from);
      std::vector<TuningDb*> rest{&both};
      for (TuningDb* other : parts) {
        if (other != into && other != from) rest.push_back(other);
      }
      merge_in_every_way(rest, say);
    }
  }
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

  TEST_CASE("a time that surely lies below the other's wins, with fewer samples too") {
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

  TEST_CASE(
      "a chain of times that overlap only with the next is decided once, not by who met first") {
    // Quartiles of a lie above those of c, which overlaps with b as b does with a. If the most
    // samples won among those that overlap, a would beat b unless c had beaten a before.
    const Point a{.host = 0, .block_m = 8, .us = 4.10, .samples = 100};
    const Point b{.host = 1, .block_m = 16, .us = 4.03, .samples = 10};
    const Point c{.host = 2, .block_m = 32, .us = 3.97, .samples = 5};
    std::set<std::set<std::string>> outcomes;
    TuningDb first = with({a}), second = with({b}), third = with({c});
    merge_in_every_way({&first, &second, &third},
                       [&](const Contents& merged) { outcomes.insert(merged.winners); });
    CHECK(outcomes.size() == 1);
  }

  TEST_CASE("which of two winners is better is an order of all") {
    std::mt19937 random(3);
    const auto any = [&](int below) { return static_cast<int>(random() % below); };
    std::vector<FoundedWinner> all;
    for (int i = 0; i < 60; ++i) {
      const double us = 4 + 0.03 * any(5), spread = 0.004 * any(4);
      Measurement row = measurement_of(config_of(8 << any(3)), 1, us);
      row.timing.q1_us = us * (1 - spread);
      row.timing.q3_us = us * (1 + spread);
      row.timing.samples = any(4) == 0 ? 0 : 5 << any(4);
      all.push_back({winner_of(h100(), row, 1), row, any(3)});
    }
    int apart = 0;
    for (const FoundedWinner& a : all) {
      CHECK_FALSE(better_founded(a, a));
      for (const FoundedWinner& b : all) {
        const bool first = better_founded(a, b);
        if (&a != &b) CHECK(!(first && better_founded(b, a)));
        const Timing &x = a.evidence.timing, &y = b.evidence.timing;
        if (surely_us(x) < 2 * y.median_us - surely_us(y)) {  // the notches lie apart
          ++apart;
          CHECK(first);
        }
        for (const FoundedWinner& c : all) {
          if (first && better_founded(b, c)) REQUIRE(better_founded(a, c));
        }
      }
    }
    CHECK(apart > 100);
  }

  TEST_CASE("a median is the surer the more samples it is of") {
    Timing t{.median_us = 10, .q1_us = 9, .q3_us = 11, .samples = 100};
    CHECK(surely_us(t) == doctest::Approx(10.314));
    t.samples = 4;
    CHECK(surely_us(t) == doctest::Approx(11.57));
    t.samples = 0;
    CHECK(surely_us(t) == doctest::Approx(13.14));
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

  TEST_CASE("however three databases are brought together, one comes out") {
    std::mt19937 random(20261127);
    int winners_lost = 0;
    for (int round = 0; round < 12; ++round) {
      TuningDb a = random_database(random), b = random_database(random),
               c = random_database(random);
      TuningDb at_once = memory();
      TuningDb* const all[] = {&c, &a, &b};
      merge(at_once, all);
      const Contents expected = contents(at_once);
      int ways = 0;
      merge_in_every_way({&a, &b, &c}, [&](const Contents& merged) {
        ++ways;
        CHECK(merged == expected);
      });
      CHECK(ways == 12);
      const size_t there = a.winners().size() + b.winners().size() + c.winners().size();
      winners_lost += there > expected.winners.size();
    }
    CHECK(winners_lost > 6);  // they did meet
  }

  TEST_CASE("however four databases are brought together, one comes out") {
    std::mt19937 random(5);
    for (int round = 0; round < 1; ++round) {
      TuningDb a = random_database(random), b = random_database(random),
               c = random_database(random), d = random_database(random);
      std::set<std::set<std::string>> winners;
      int ways = 0;
      merge_in_every_way({&a, &b, &c, &d}, [&](const Contents& merged) {
        ++ways;
        winners.insert(merged.winners);
      });
      CHECK(ways == 144);
      CHECK(winners.size() == 1);
    }
  }

  TEST_CASE("what a database holds already changes nothing in it") {
    std::mt19937 random(7);
    for (int round = 0; round < 15; ++round) {
      TuningDb a = random_database(random), b = random_database(random);
      const Contents own = contents(a);
      TuningDb twin = copy_of(a);
      CHECK(contents(twin) == own);
      merge_one(a, twin);
      CHECK(contents(a) == own);

      merge_one(a, b);
      const Contents both = contents(a);
      for (TuningDb* again : {&b, &twin, &b}) {
        TuningDb* const sources[] = {again};
        const MergeCounts counts = merge(a, sources);
        CHECK(counts.runs + counts.measurements + counts.comparisons + counts.winners == 0);
        CHECK(contents(a) == both);
      }
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
