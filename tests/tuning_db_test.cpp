// SPDX-License-Identifier: Apache-2.0
// What the tuning database keeps, gives back and refuses, with one process writing. Several
// processes and damaged files: tuning_db_processes_test.cpp, tuning_db_corruption_test.cpp.
#include "tuning_db/tuning_db.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <limits>

#include "tests/temporary_folder.h"
#include "tests/tuning_db_fixture.h"

namespace nvfp4 {
namespace {

TuningDb memory() { return TuningDb("", Access::memory); }

int mode_of(const std::filesystem::path& path) {
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  return info.st_mode & 0777;
}

/// The message of the DatabaseError that opening throws, or empty.
std::string open_error(const std::string& path, Access access = Access::read_write) {
  try {
    TuningDb(path, access);
  } catch (const DatabaseError& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("a measurement comes back exactly as it was added, with its run's device and toolchain") {
  TuningDb database = memory();
  const int64_t run = database.add_run(run_on(h100()));
  Measurement row = measurement_of(config_of(64), 64, 12.375);
  row.text = "gate on N=256 of 4096\nsecond line, \xc3\xa9";
  row.timing.throttled = true;
  row.id = database.add(run, row);
  row.run = run;
  row.device = key_of(h100());
  row.toolchain = run_on(h100()).toolchain;
  const std::vector<Measurement> rows = database.measurements();
  REQUIRE(rows.size() == 1);
  CHECK(rows[0] == row);
  CHECK(database.warnings().empty());
}

TEST_CASE("every verdict is a row, and rows come back in the order they were added") {
  TuningDb database = memory();
  const int64_t run = database.add_run(run_on(h100()));
  std::vector<Measurement> rows;
  for (int verdict = 0; verdict <= static_cast<int>(Verdict::too_noisy); ++verdict) {
    rows.push_back(failed(config_of(8), 1 + verdict, static_cast<Verdict>(verdict), "reason"));
  }
  rows[0] = measurement_of(config_of(8), 1, 3);
  const std::vector<int64_t> ids = database.add(run, rows);
  const std::vector<Measurement> read = database.measurements(key_of(h100()), square_problem());
  REQUIRE(read.size() == rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    CHECK(read[i].id == ids[i]);
    CHECK(read[i].verdict == static_cast<Verdict>(i));
    CHECK(read[i].m == rows[i].m);
  }
  CHECK(std::is_sorted(ids.begin(), ids.end()));
}

TEST_CASE("text that would move a cursor or turn what follows is stored without it") {
  TuningDb database = memory();
  RunRecord run = run_on(h100());
  // Controls of C0 and C1, marks of direction and of no width, broken UTF-8; letters stay.
  run.device_name = "a\x1b[2Jb\u009b2Jc\u202ed\u200be\377f\ufeffg \u00fc\u20ac\t";
  database.add_run(run);
  CHECK(database.runs()[0].device_name == "a?[2Jb?2Jc?d?e?f?g \u00fc\u20ac\t");
}

TEST_CASE("names of stored enumerators parse back, and nothing else parses") {
  for (int i = 0; i <= static_cast<int>(Verdict::too_noisy); ++i) {
    CHECK(parse_verdict(name(static_cast<Verdict>(i))) == static_cast<Verdict>(i));
  }
  CHECK(parse_policy("graph+pdl") == Policy::graph_pdl);
  CHECK(parse_provenance("modelled") == Provenance::modelled);
  CHECK(!parse_verdict("OK"));
  CHECK(!parse_policy("graph+"));
  CHECK(!parse_provenance(""));
}

TEST_CASE("a batch with one bad measurement adds nothing and names the value") {
  TuningDb database = memory();
  const int64_t run = database.add_run(run_on(h100()));
  std::vector<Measurement> rows = {measurement_of(config_of(8), 1, 3),
                                   measurement_of(config_of(8), 2, 3)};
  rows[1].timing.median_us = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH_AS(database.add(run, rows), doctest::Contains("nan"), DatabaseError);
  CHECK(database.counts().measurements == 0);
  rows[1] = measurement_of(config_of(8), kMaxM + 1, 3);
  CHECK_THROWS_WITH_AS(database.add(run, rows), doctest::Contains("1048577"), DatabaseError);
  rows[1] = measurement_of(config_of(0), 2, 3);
  CHECK_THROWS_WITH_AS(database.add(run, rows), doctest::Contains("1..1024"), DatabaseError);
  CHECK_THROWS_WITH_AS(database.add(run + 1, rows[0]), doctest::Contains("no run 2"),
                       DatabaseError);
  CHECK(database.counts().measurements == 0);
}

TEST_CASE("an emulated device never has a measured time") {
  TuningDb database = memory();
  const int64_t run = database.add_run(run_on(h100(true)));
  CHECK_THROWS_AS(database.add(run, measurement_of(config_of(8), 1, 3)), DatabaseError);
  database.add(run, measurement_of(config_of(8), 1, 3, Provenance::modelled));
  CHECK(database.counts().measurements == 1);
}

TEST_CASE("an emulated device and its original are two devices with separate histories") {
  TuningDb database = memory();
  const int64_t real = database.add_run(run_on(h100()));
  const int64_t emulated = database.add_run(run_on(h100(true)));
  database.add(real, measurement_of(config_of(8), 1, 3));
  database.add(emulated, measurement_of(config_of(8), 1, 4, Provenance::modelled));
  CHECK(database.measurements(key_of(h100()), square_problem()).size() == 1);
  CHECK(database.measurements(key_of(h100(true)), square_problem()).size() == 1);
}

TEST_CASE("each physical fact of a device is part of its key, and its name is not") {
  const DeviceKey key = key_of(h100());
  Device device = h100();
  device.name = "another label";
  CHECK(key_of(device) == key);
  const auto changed = [&](auto change) {
    Device other = h100();
    change(other);
    return key_of(other) != key;
  };
  CHECK(changed([](Device& d) { d.arch.accelerated = false; }));
  CHECK(changed([](Device& d) { d.sm_count -= 1; }));
  CHECK(changed([](Device& d) { d.l2_bytes /= 2; }));
  CHECK(changed([](Device& d) { d.smem_per_block -= 1024; }));
  CHECK(changed([](Device& d) { d.memory_bandwidth *= 1.4; }));
  CHECK(changed([](Device& d) { d.emulated = true; }));
}

TEST_CASE("each field of a problem is part of its key") {
  TuningDb database = memory();
  const int64_t run = database.add_run(run_on(h100()));
  std::vector<Problem> problems(8, square_problem());
  problems[6].kind = problems[7].kind = ProblemKind::grouped;
  problems[6].experts = 8;
  problems[7].experts = 16;
  problems[1].layout = 2;
  problems[2].n = 4095;
  problems[3].k = 4112;
  problems[4].act = Activation::fp16;
  problems[5].arch = {8, 0, false};
  for (const Problem& problem : problems) {
    Measurement row = measurement_of(config_of(8), 1, 3);
    row.problem = problem;
    row.kernel.config.act = problem.act;
    database.add(run, row);
  }
  for (const Problem& problem : problems) {
    const std::vector<Measurement> rows = database.measurements(key_of(h100()), problem);
    REQUIRE(rows.size() == 1);
    CHECK(rows[0].problem == problem);
  }
}

TEST_CASE("winners come back with the time and machine code of their evidence") {
  TuningDb database = memory();
  const int64_t run = database.add_run(run_on(h100()));
  Measurement row = measurement_of(config_of(64), 64, 12.5);
  Winner winner = winner_of(h100(), row, database.add(run, row));
  winner.runner_up = config_of(32);
  winner.regret_bound = 0.02;
  database.store(winner);
  REQUIRE(database.winners().size() == 1);
  CHECK(database.winners()[0] == winner);
  CHECK(database.winners(key_of(h100()), square_problem()).size() == 1);
  CHECK(database.winners(key_of(h100()), square_problem(8192)).empty());
  CHECK(database.winners(key_of(h100(true)), square_problem()).empty());
}

TEST_CASE("a new winner takes the place of the old one, and the measurements of both stay") {
  TuningDb database = memory();
  const int64_t run = database.add_run(run_on(h100()));
  add_winner(database, run, h100(), measurement_of(config_of(64), 64, 12.5));
  const std::vector<Measurement> before = database.measurements();
  add_winner(database, run, h100(), measurement_of(config_of(32), 64, 11.5));
  Measurement eager = measurement_of(config_of(32), 64, 13);
  eager.policy = Policy::eager;
  add_winner(database, run, h100(), eager);
  const std::vector<Winner> winners = database.winners();
  REQUIRE(winners.size() == 2);
  CHECK(winners[0].config == config_of(32));
  CHECK(winners[1].policy == Policy::eager);
  const std::vector<Measurement> after = database.measurements();
  REQUIRE(after.size() == 3);
  CHECK(after[0] == before[0]);
}

TEST_CASE("a winner without agreeing evidence is refused") {
  TuningDb database = memory();
  const int64_t run = database.add_run(run_on(h100()));
  const Measurement row = measurement_of(config_of(64), 64, 12.5);
  const Winner winner = winner_of(h100(), row, database.add(run, row));
  const auto refused = [&](auto change) {
    Winner other = winner;
    change(other);
    CHECK_THROWS_AS(database.store(other), DatabaseError);
  };
  refused([](Winner& w) { w.evidence += 1; });
  refused([](Winner& w) { w.config = config_of(32); });
  refused([](Winner& w) { w.device = key_of(h100(true)); });
  refused([](Winner& w) { w.problem = square_problem(8192); });
  refused([](Winner& w) { w.policy = Policy::eager; });
  refused([](Winner& w) { w.provenance = Provenance::modelled; });
  refused([](Winner& w) { w.m_tuned = 63; });
  refused([](Winner& w) { w.interval = {65, 128}; });
  const int64_t wrong = database.add(run, failed(config_of(64), 64, Verdict::wrong, "m=1 n=2"));
  refused([&](Winner& w) { w.evidence = wrong; });
  CHECK(database.winners().empty());
}

TEST_CASE("a token tile is one interval: 63 and 64 share it, 65 does not") {
  CHECK(tile_interval(config_of(64), 64) == MInterval{1, 64});
  CHECK(tile_interval(config_of(64), 63) == MInterval{1, 64});
  CHECK(tile_interval(config_of(16), 64) == MInterval{49, 64});
  CHECK(tile_interval(config_of(16), 65) == MInterval{65, 80});
  CHECK(tile_interval(config_of(8), 1) == MInterval{1, 8});
}

TEST_CASE(
    "a candidate that was in flight when its tuner died is suspect, and after twice blocked") {
  TuningDb database = memory();
  const DeviceKey device = key_of(h100());
  const int64_t first = database.add_run(run_on(h100()));
  database.start(first, square_problem(), config_of(8));
  database.start(first, square_problem(), config_of(16));
  database.finish(first, square_problem(), config_of(16));
  std::vector<Suspect> suspects = database.suspects(device, square_problem());
  REQUIRE(suspects.size() == 1);
  CHECK(suspects[0].config == config_of(8));
  CHECK(!suspects[0].blocked());
  const int64_t second = database.add_run(run_on(h100()));
  database.start(second, square_problem(), config_of(8));
  suspects = database.suspects(device, square_problem());
  REQUIRE(suspects.size() == 1);
  CHECK(suspects[0].blocked());
  CHECK(database.suspects(device, square_problem(8192)).empty());
  CHECK(database.suspects(key_of(h100(true)), square_problem()).empty());
  database.finish(second, square_problem(), config_of(8));
  CHECK(database.suspects(device, square_problem()).empty());
}

TEST_CASE("calls in a batch are stored together or not at all") {
  TuningDb database = memory();
  const int64_t run = database.add_run(run_on(h100()));
  {
    TuningDb::Batch batch(database);
    add_winner(database, run, h100(), measurement_of(config_of(64), 64, 12.5));
    database.start(run, square_problem(), config_of(8));
    CHECK(database.winners().size() == 1);
  }
  CHECK(database.winners().empty());
  CHECK(database.counts().measurements == 0);
  {
    TuningDb::Batch batch(database);
    add_winner(database, run, h100(), measurement_of(config_of(64), 64, 12.5));
    CHECK_THROWS_AS(database.add(run, measurement_of(config_of(0), 64, 1)), DatabaseError);
    batch.commit();
  }
  CHECK(database.winners().size() == 1);
  CHECK(database.counts().measurements == 1);
}

TEST_CASE("text from a compiler or a stranger is stored as clean, bounded UTF-8") {
  TuningDb database = memory();
  const int64_t run = database.add_run(run_on(h100()));
  const std::string dirty =
      std::string("a\0b\x1b[31m\xff", 9) + "\xc3\xa9\xed\xa0\x80\n" + std::string(5000, 'x');
  database.add(run, failed(config_of(8), 1, Verdict::compile_error, dirty));
  const std::string text = database.measurements()[0].text;
  CHECK(text.size() == 2048);
  CHECK(text.substr(0, 15) == "a?b?[31m?\xc3\xa9???\n");
  CHECK(database.warnings().empty());
}

TEST_CASE("a database on disk is private, keeps what it was given, and leaves nothing beside it") {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "a/b/tuning.db";
  {
    TuningDb database(path, Access::read_write);
    const int64_t run = database.add_run(run_on(h100()));
    add_winner(database, run, h100(), measurement_of(config_of(64), 64, 12.5));
    CHECK(database.path() == path);
  }
  CHECK(mode_of(path) == 0600);
  CHECK(mode_of(folder / "a") == 0700);
  CHECK(mode_of(folder / "a/b") == 0700);
  for (const Access access : {Access::read_write, Access::read_only, Access::immutable}) {
    TuningDb database(path, access);
    CHECK(database.winners().size() == 1);
    CHECK(database.warnings().empty());
  }
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "a/b")) {
    files += entry.path() != "";
  }
  CHECK(files == 1);
}

TEST_CASE("a database opened for reading cannot be written and is not created") {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "tuning.db";
  CHECK(contains(open_error(path, Access::read_only), "does not exist"));
  CHECK(contains(open_error(path, Access::immutable), "does not exist"));
  CHECK(!std::filesystem::exists(path));
  TuningDb(path, Access::read_write);
  TuningDb database(path, Access::read_only);
  CHECK_THROWS_AS(database.add_run(run_on(h100())), DatabaseError);
}

TEST_CASE("a path that cannot be a database is one clear line") {
  const TemporaryFolder folder;
  CHECK(contains(open_error(folder.path()), "is a directory"));
  CHECK(contains(open_error(folder.path(), Access::read_only), "is a directory"));
  CHECK(contains(open_error("/dev/null"), "is not a regular file"));
  CHECK(contains(open_error("/proc/nvfp4/tuning.db"), "/proc/nvfp4"));
  CHECK(contains(open_error("/proc/tuning.db"), "/proc/tuning.db"));
  CHECK(contains(open_error(""), "empty"));
  TuningDb(folder / "file", Access::read_write);
  CHECK(contains(open_error(folder / "file/tuning.db"), "Not a directory"));
  for (const std::string& message : {open_error(folder.path()), open_error("/proc/tuning.db")}) {
    CHECK(!contains(message, "\n"));
  }
}

TEST_CASE("a path with characters that mean something in a URI is just a path") {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "a?mode=memory#%41.db";
  { TuningDb(path, Access::read_write).add_run(run_on(h100())); }
  CHECK(std::filesystem::exists(path));
  CHECK(TuningDb(path, Access::immutable).counts().runs == 1);
}

TEST_CASE("the default path follows NVFP4_DB, then XDG_DATA_HOME, then HOME, then memory") {
  const ScopedEnvironment home("HOME", "/home/someone");
  const ScopedEnvironment xdg("XDG_DATA_HOME", "/data");
  const ScopedEnvironment explicit_path("NVFP4_DB", "/tmp/mine.db");
  CHECK(default_database_path().path == "/tmp/mine.db");
  const ScopedEnvironment no_path("NVFP4_DB", nullptr);
  CHECK(default_database_path().path == "/data/nvfp4/tuning.db");
  const ScopedEnvironment relative("XDG_DATA_HOME", "data");
  CHECK(default_database_path().path == "/home/someone/.local/share/nvfp4/tuning.db");
  const ScopedEnvironment homeless("HOME", nullptr);
  CHECK(default_database_path().path.empty());
  CHECK(contains(default_database_path().reason, "HOME"));
}

}  // namespace
}  // namespace nvfp4
