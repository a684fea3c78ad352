// SPDX-License-Identifier: Apache-2.0
// What strangers send: hints when it can be true, a line about each row when it cannot.
#include "tuning_db/import.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "generator/config_text.h"
#include "runtime/lookup.h"
#include "tests/raw_sqlite.h"
#include "tests/temporary_folder.h"
#include "tests/tuning_db_fixture.h"
#include "tuning_db/plausible.h"
#include "tuning_db/winners_text.h"

using namespace nvfp4;

namespace {

TuningDb memory() { return TuningDb("", Access::memory); }

TuningDb theirs() {
  TuningDb database = memory();
  const int64_t run = database.add_run(run_on(h100()));
  add_winner(database, run, h100(), measurement_of(config_of(64), 64, 9.25));
  add_winner(database, run, h100(), measurement_of(config_of(8), 1, 4.5));
  return database;
}

/// The same with a winner of a grouped problem.
TuningDb theirs_grouped() {
  TuningDb database = theirs();
  Measurement row = measurement_of(config_of(8), 1, 6.5);
  row.problem.kind = ProblemKind::grouped;
  row.problem.experts = 32;
  add_winner(database, database.add_run(run_on(h100())), h100(), row);
  return database;
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_SUITE("import") {
  TEST_CASE("imported winners are hints: they are stored, and answer no lookup") {
    TuningDb database = memory();
    TuningDb sent = theirs();
    const ImportResult result = import_winners(database, sent);
    CHECK(result.winners == 2);
    CHECK(result.refused.empty());
    std::vector<Snapshot::Entry> entries;
    for (const Winner& winner : database.winners()) {
      CHECK(winner.origin == WinnerOrigin::imported);
      entries.push_back({winner, Layer::user});
    }
    CHECK(entries.size() == 2);
    CHECK(Snapshot(h100(), entries).size() == 0);
    for (const RunRecord& run : database.runs()) CHECK(run.purpose == Purpose::imported);
    for (const Measurement& row : database.measurements()) {
      CHECK(row.purpose == Purpose::imported);
    }
    CHECK_THROWS_WITH(winners_text(database), "no winner was measured on a real card");
  }

  TEST_CASE("text and database bring the same winners, and a second time changes nothing") {
    TuningDb sent = theirs_grouped();
    const std::string text = winners_text(sent);
    TuningDb by_text = memory(), by_file = memory();
    CHECK(import_winners(by_text, text, "card.csv").winners == 3);
    CHECK(import_winners(by_file, sent).winners == 3);
    const std::vector<Winner> from_text = by_text.winners(), from_file = by_file.winners();
    REQUIRE(from_text.size() == 3);
    for (const Winner& w : from_text) {
      CHECK(std::count_if(from_file.begin(), from_file.end(), [&](const Winner& other) {
              return other.problem == w.problem && other.m_tuned == w.m_tuned &&
                     other.config == w.config && other.expected_us == w.expected_us &&
                     other.origin == w.origin;
            }) == 1);
    }
    for (const auto* each : {&by_text, &by_file}) {
      auto& database = const_cast<TuningDb&>(*each);
      const TuningDb::Counts before = database.counts();
      import_winners(by_text, text, "card.csv");
      import_winners(by_file, sent);
      CHECK(database.counts().winners == before.winners);
      CHECK(database.counts().measurements == before.measurements);
      CHECK(database.counts().runs == before.runs);
    }
  }

  TEST_CASE("a tuned winner stands, whatever is imported beside it") {
    TuningDb database = memory();
    add_winner(database, database.add_run(run_on(h100())), h100(),
               measurement_of(config_of(16), 64, 12));
    TuningDb sent = theirs();
    import_winners(database, sent);
    int tuned = 0;
    for (const Winner& winner : database.winners()) {
      if (winner.origin == WinnerOrigin::imported) continue;
      ++tuned;
      CHECK(winner.config == config_of(16));
      CHECK(winner.expected_us == 12);
    }
    CHECK(tuned == 1);
    CHECK(database.winners().size() == 3);
  }

  TEST_CASE("a line that lies is refused with its place and numbers, the others are taken") {
    TuningDb sent = theirs();
    const std::string text = winners_text(sent);
    const auto refusal = [&](const std::string& from, const std::string& to) {
      TuningDb database = memory();
      const ImportResult result = import_winners(database, with(text, from, to), "card.csv");
      CHECK(result.winners == 1);
      CHECK(database.winners().size() == 1);
      REQUIRE(result.refused.size() == 1);
      return result.refused[0];
    };
    CHECK(refusal(",4.500,4.455,", ",0.500,0.455,") ==
          "card.csv:9: 0.500 us is less than the 2.735 us that reading the weights takes");
    CHECK(refusal(",64,9.250,9.158,", ",1048576,9.250,9.158,").starts_with("card.csv:10: "));
    CHECK(refusal(",0.850,", ",1.120,") == "card.csv:9: F = 1.120 exceeds 1.1");
    CHECK(refusal(",4.500,4.455,", ",nan,nan,").starts_with("card.csv:9: timing value nan"));
    CHECK(refusal(",4.500,4.455,", ",inf,4.455,").starts_with("card.csv:9: timing value inf"));
  }

  TEST_CASE("a row of a grouped problem whose config is for dense ones only is refused") {
    TuningDb sent = theirs_grouped();
    const std::string text = winners_text(sent);
    const auto refusal = [&](const std::string& from, const std::string& to) {
      TuningDb database = memory();
      const ImportResult result = import_winners(database, with(text, from, to), "card.csv");
      CHECK(result.winners == 2);
      REQUIRE(result.refused.size() == 1);
      return result.refused[0];
    };
    const std::string own = "\"" + config_text(config_of(8)) + "\"";
    const std::string split = config_text(config_of(8)) + ",schedule=split_k,split_k=2";
    REQUIRE(parse_config(split));
    const size_t grouped = text.find("\n4096,4096,32,");
    REQUIRE(grouped != std::string::npos);
    const std::string line = text.substr(grouped, text.find('\n', grouped + 1) - grouped);
    CHECK(refusal(line, with(line, own, "\"" + split + "\"")) ==
          "card.csv:11: its card cannot run it: schedule split_k is not for grouped kernels");
    CHECK(refusal(line, with(line, own, "\"family=mma,act=bf16,block_m=8,num_stages=64\""))
              .starts_with("card.csv:11: its card cannot run it: "));
    // Its time is right for the one expert of a token, and a lie for the 32 of 512 tokens.
    CHECK(refusal(line, with(line, ",1,8,1,", ",505,512,512,"))
              .starts_with("card.csv:11: 6.500 us is less than the "));
  }

  TEST_CASE("a row whose kind and experts disagree is refused by name") {
    const TemporaryFolder folder;
    const std::string path = folder / "sent.db";
    for (const char* change :
         {"kind = 'dense'", "experts = 0", "experts = -1", "experts = 4097", "kind = 'stacked'"}) {
      CAPTURE(change);
      std::filesystem::remove(path);
      {
        TuningDb file(path, Access::read_write);
        TuningDb sent = theirs_grouped();
        TuningDb* const sources[] = {&sent};
        merge(file, sources);
      }
      REQUIRE(forge_row(path, "problem", 2, change));
      TuningDb sent(path, Access::immutable);
      TuningDb database = memory();
      const ImportResult result = import_winners(database, sent);
      CHECK(result.winners == 2);
      REQUIRE_FALSE(result.refused.empty());
      CHECK(result.refused[0].find("problem row 2 skipped: ") != std::string::npos);
    }
  }

  TEST_CASE("a lying row of a database is refused by name") {
    const TemporaryFolder folder;
    const std::string path = folder / "sent.db";
    {
      TuningDb file(path, Access::read_write);
      TuningDb sent = theirs();
      TuningDb* const sources[] = {&sent};
      merge(file, sources);
    }
    forge_row(path, "measurement", 1, "median_us = 0.25, q1_us = 0.25");
    execute_sql(path, "UPDATE winner SET m_hi = m_hi + 1 WHERE m_tuned = 1");
    TuningDb sent(path, Access::immutable);
    TuningDb database = memory();
    const ImportResult result = import_winners(database, sent);
    CHECK(result.winners == 0);
    REQUIRE(result.refused.size() == 2);
    CHECK(result.refused[0].find("checksum mismatch") != std::string::npos);
    CHECK(result.refused[1].find("winner for n=4096 k=4096 M=64: 0.250 us is less than") !=
          std::string::npos);
  }

  TEST_CASE("what a card can do at most follows from its key and the problem") {
    Measurement row = measurement_of(config_of(8), 1, 2.8);
    row.device = key_of(h100());
    CHECK_FALSE(implausible(row));
    row.timing.median_us = 2.7;
    CHECK(implausible(row));
    row.timing.median_us = 20;
    row.m = 4096;
    CHECK(implausible(row)->find("that the products take") != std::string::npos);
    row.timing.median_us = 200;
    CHECK_FALSE(implausible(row));
    row.timing.f = 1.2;
    CHECK(implausible(row));
    row.verdict = Verdict::spill;
    CHECK_FALSE(implausible(row));
  }
}
