// SPDX-License-Identifier: Apache-2.0
// Which rows are held against each other, what the two questions say, and what they come to.
#include "tuner/compare.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "generator/config_text.h"
#include "tests/temporary_folder.h"
#include "tests/tuning_db_fixture.h"
#include "tuner/compare_report.h"
#include "tuner/judged_run.h"
#include "tuner/stored_cells.h"

using namespace nvfp4;

namespace {

// A row with 15 equal samples: no noise of its own.
Measurement timed(int block_m, int64_t m, double us, const std::string& code) {
  Measurement row = measurement_of(config_of(block_m), m, us);
  row.kernel.code_hash = code;
  row.samples_us.assign(15, static_cast<float>(us));
  row.timing.q1_us = row.timing.median_us = row.timing.q3_us = us;
  row.timing.samples = 15;
  return row;
}

int64_t add_run(TuningDb& db, Purpose purpose, const std::vector<Measurement>& rows,
                const Device& device = h100()) {
  RunRecord run = run_on(device);
  run.purpose = purpose;
  const int64_t id = db.add_run(run);
  db.add(id, rows);
  return id;
}

std::vector<ComparedPair> compared(TuningDb& db, int64_t base, int64_t now) {
  const RunHistory history(db);
  return compare(side_of(history, *history.find(base)), side_of(history, *history.find(now)), {});
}

const ComparedPair* find(const std::vector<ComparedPair>& pairs, Question question, int64_t m,
                         Change change) {
  for (const ComparedPair& pair : pairs) {
    const Comparison& c = pair.result;
    if (c.question == question && c.m == m && c.verdict == change) return &pair;
  }
  return nullptr;
}

}  // namespace

TEST_SUITE("compare") {
  TEST_CASE("the same config and the best config are two questions with two answers") {
    TuningDb db("", Access::memory);
    // M = 64: the same config got slower. M = 128: another one answers, and faster.
    const int64_t base =
        add_run(db, Purpose::bench, {timed(64, 64, 20, "a"), timed(64, 128, 30, "a")});
    const int64_t now =
        add_run(db, Purpose::bench, {timed(64, 64, 22, "b"), timed(128, 128, 25, "c")});
    const std::vector<ComparedPair> pairs = compared(db, base, now);
    CHECK(find(pairs, Question::best_config, 64, Change::slower));
    CHECK(find(pairs, Question::same_config, 64, Change::slower));
    const ComparedPair* faster = find(pairs, Question::best_config, 128, Change::faster);
    REQUIRE(faster);
    CHECK(faster->result.reason == "another config answers");
    CHECK(faster->result.ratio == doctest::Approx(25 / 30.0));
    CHECK(faster->result.base_measurement == faster->base->id);
    CHECK(find(pairs, Question::same_config, 128, Change::missing));
    CHECK(find(pairs, Question::same_config, 128, Change::added));
    CHECK(regressed(pairs));
    CHECK(pairs.front().result.verdict == Change::slower);  // sorted by what matters
  }

  TEST_CASE("means are over what both sides have, the rest is counted") {
    TuningDb db("", Access::memory);
    const int64_t base = add_run(db, Purpose::bench,
                                 {timed(64, 1, 10, "a"), timed(64, 2, 10, "a"),
                                  timed(64, 4, 10, "a"), timed(64, 8, 1000, "a")});
    const int64_t now = add_run(db, Purpose::bench,
                                {timed(64, 1, 20, "b"), timed(64, 2, 5, "b"), timed(64, 4, 10, "a"),
                                 timed(64, 16, 1, "a")});
    const Tally t = tally(compared(db, base, now), Question::best_config);
    CHECK(t.compared == 3);
    CHECK(t.geomean == doctest::Approx(1));
    CHECK(t.of(Change::missing) == 1);
    CHECK(t.of(Change::added) == 1);
    CHECK(tally_text(t) == "1 slower, 1 faster, 1 missing, 1 added, 1 unchanged");
    CHECK(tally_text(Tally()) == "nothing to compare");
  }

  TEST_CASE("of a tuning run, the fastest of its finals is the answer") {
    TuningDb db("", Access::memory);
    Measurement coarse = timed(32, 64, 10, "x");
    coarse.timing.samples = 7;
    const int64_t base =
        add_run(db, Purpose::tune, {coarse, timed(64, 64, 20, "a"), timed(128, 64, 19, "b")});
    const int64_t now = add_run(db, Purpose::bench, {timed(128, 64, 19, "b")});
    const std::vector<ComparedPair> pairs = compared(db, base, now);
    CHECK(find(pairs, Question::best_config, 64, Change::unchanged));
    CHECK_FALSE(regressed(pairs));
  }

  TEST_CASE("of a whole database, the later of winner's evidence and recording is the answer") {
    TuningDb db("", Access::memory);
    const int64_t tuned = db.add_run(run_on(h100()));
    add_winner(db, tuned, h100(), timed(64, 64, 20, "a"));
    {
      const RunHistory history(db);
      const ComparedSide side = side_of(history, db.winners());
      REQUIRE(side.answers.size() == 1);
      CHECK(side.rows[side.answers.begin()->second].timing.median_us == 20);
    }
    add_run(db, Purpose::bench, {timed(64, 64, 21, "a")});
    const RunHistory history(db);
    const ComparedSide side = side_of(history, db.winners());
    CHECK(side.rows[side.answers.begin()->second].timing.median_us == 21);
  }

  TEST_CASE("another card, another policy, and a model are other series") {
    TuningDb db("", Access::memory);
    Measurement eager = timed(64, 64, 30, "a");
    eager.policy = Policy::eager;
    Device h200 = h100();
    h200.memory_bandwidth = 4800e9;
    const int64_t base = add_run(db, Purpose::bench, {timed(64, 64, 20, "a"), eager});
    const int64_t now = add_run(db, Purpose::bench, {timed(64, 64, 30, "b")}, h200);
    CHECK(tally(compared(db, base, now), Question::best_config).compared == 0);
  }

  TEST_CASE("a kernel that broke is a regression, and stands first") {
    TuningDb db("", Access::memory);
    const int64_t base =
        add_run(db, Purpose::bench, {timed(64, 64, 20, "a"), timed(64, 128, 20, "a")});
    const int64_t now =
        add_run(db, Purpose::bench,
                {failed(config_of(64), 64, Verdict::wrong, "at m = 3"), timed(64, 128, 80, "b")});
    const std::vector<ComparedPair> pairs = compared(db, base, now);
    CHECK(pairs.front().result.verdict == Change::broken);
    CHECK(pairs.front().result.reason == "wrong: at m = 3");
    CHECK(regressed(pairs));
  }

  TEST_CASE("every form of output has both questions apart") {
    TuningDb db("", Access::memory);
    const int64_t base = add_run(db, Purpose::bench, {timed(64, 64, 20, "a")});
    const int64_t now = add_run(db, Purpose::bench, {timed(64, 64, 22, "b")});
    const std::vector<ComparedPair> pairs = compared(db, base, now);
    const ComparedFacts facts{.old_name = "old", .new_name = "new"};
    const auto json = nlohmann::json::parse(compare_text(pairs, facts, Format::json));
    CHECK(json["best_config"]["counts"]["slower"] == 1);
    CHECK(json["same_config"]["rows"][0]["question"] == "same_config");
    CHECK(json["best_config"]["geomean_ratio"] == doctest::Approx(1.1));
    CHECK(json["modelled"] == false);
    const std::string table = compare_text(pairs, facts, Format::table);
    CHECK(table.find("What the library runs") < table.find("The same config, measured again"));
    CHECK(table.find("modelled") == std::string::npos);
    CHECK(compare_text(pairs, facts, Format::csv).starts_with("verdict,n,k,m,"));
    CHECK(compare_text(pairs, facts, Format::md).find("| slower") != std::string::npos);
  }
}

TEST_SUITE("history") {
  TEST_CASE("the noise floor is learnt from equal machine code in runs that follow each other") {
    TuningDb db("", Access::memory);
    for (int run = 0; run < 9; ++run) {
      add_run(db, Purpose::bench,
              {timed(64, 64, run % 2 == 0 ? 20 : 20.1, "a"),
               timed(64, 128, 20 + run, std::to_string(run))});
      add_run(db, Purpose::tune, {timed(64, 64, 90, "a")});  // says nothing about recordings
    }
    const NoiseFloor floor = noise_floor(RunHistory(db), key_of(h100()));
    CHECK(floor.pairs() == 8);
    CHECK(floor.at(64) == doctest::Approx(0.0225).epsilon(0.02));
    CHECK(noise_floor(RunHistory(db), key_of(h100(true))).pairs() == 0);
  }

  TEST_CASE("a step is stored with the run that it begins with, and replaced when it moves") {
    TuningDb db("", Access::memory);
    std::vector<int64_t> runs;
    for (int run = 0; run < 16; ++run) {
      runs.push_back(add_run(db, Purpose::bench, {timed(64, 64, run < 10 ? 20 : 21, "a")}));
    }
    const StepsFound found = find_change_points(RunHistory(db), key_of(h100()));
    CHECK(found.tested == 2);  // the series, under each question
    CHECK(found.too_short == 0);
    REQUIRE(found.steps.size() == 2);
    CHECK(found.steps[0].question == Question::best_config);
    CHECK(found.steps[0].run == runs[10]);
    CHECK(found.steps[0].ratio == doctest::Approx(1.05));
    db.replace_change_points(key_of(h100()), found.steps);
    db.replace_change_points(key_of(h100()), found.steps);
    CHECK(db.change_points().size() == 2);
    db.replace_change_points(key_of(h100(true)), {});  // of another device
    CHECK(db.change_points().size() == 2);
    db.replace_change_points(key_of(h100()), {});
    CHECK(db.change_points().empty());
  }

  TEST_CASE("comparisons of two runs are stored once") {
    TuningDb db("", Access::memory);
    const int64_t base = add_run(db, Purpose::bench, {timed(64, 64, 20, "a")});
    const int64_t now = add_run(db, Purpose::bench, {timed(64, 64, 22, "b")});
    const std::vector<ComparedPair> pairs = compared(db, base, now);
    store(db, pairs);
    store(db, pairs);
    CHECK(db.comparisons().size() == 2);
    CHECK(db.comparisons()[0].base_run == base);
    CHECK(db.comparisons()[0].verdict == Change::slower);
  }
}

TEST_SUITE("stored cells") {
  TEST_CASE("a sample holds every token count, stays the same, and grows with its share") {
    std::vector<SuiteCell> cells;
    for (int64_t n = 64; n <= 64 * 20; n += 64) {
      for (int64_t m : {1, 64}) cells.push_back({.shape = {n, 128}, .m = m});
    }
    const std::vector<SuiteCell> tenth = sampled(cells, 0.1, 1);
    CHECK(tenth.size() == 4);
    for (int64_t m : {1, 64}) {
      CHECK(std::count_if(tenth.begin(), tenth.end(), [&](auto& c) { return c.m == m; }) == 2);
    }
    CHECK(sampled(cells, 0.1, 1) == tenth);
    CHECK(sampled(cells, 0.1, 2) != tenth);
    CHECK(sampled(cells, 1, 1) == cells);
    const std::vector<SuiteCell> half = sampled(cells, 0.5, 1);
    for (const SuiteCell& cell : tenth) CHECK(std::count(half.begin(), half.end(), cell) == 1);
    CHECK(sampled({cells[0]}, 0.01, 1).size() == 1);
  }

  TEST_CASE("winners of this card and these activations, each cell once, whatever its policy") {
    const TemporaryFolder folder;
    const std::string path = (folder / "a.db").string();
    {
      TuningDb db(path, Access::read_write);
      const int64_t run = db.add_run(run_on(h100()));
      add_winner(db, run, h100(), timed(64, 64, 20, "a"));
      Measurement eager = timed(64, 64, 20, "a");
      eager.policy = Policy::eager;
      add_winner(db, run, h100(), eager);
      add_winner(db, run, h100(), timed(16, 1, 5, "a"));
    }
    const std::vector<std::string> paths = {path, (folder / "none.db").string(), ""};
    const std::vector<SuiteCell> cells = stored_cells(paths, key_of(h100()), Activation::bf16);
    REQUIRE(cells.size() == 2);
    CHECK(cells[0].m == 1);
    CHECK(cells[1].m == 64);
    CHECK(stored_cells(paths, key_of(h100()), Activation::fp16).empty());
    CHECK(stored_cells(paths, key_of(h100(true)), Activation::bf16).empty());
  }
}
