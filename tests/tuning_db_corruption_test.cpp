// SPDX-License-Identifier: Apache-2.0
// Damaged, foreign and hostile files: what is read is what was written or it is reported, and
// nothing of anybody's is ever deleted.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>

#include "tests/raw_sqlite.h"
#include "tests/temporary_folder.h"
#include "tests/tuning_db_fixture.h"

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

/// What a reader gets from a file: everything, or an error.
struct Contents {
  std::vector<Winner> winners;
  std::vector<Measurement> measurements;
  std::vector<std::string> warnings;
  std::string error;
};

Contents read(const fs::path& path, Access access = Access::immutable) {
  Contents contents;
  try {
    TuningDb database(path, access);
    contents.winners = database.winners();
    contents.measurements = database.measurements();
    contents.warnings = database.warnings();
  } catch (const DatabaseError& error) {
    contents.error = error.what();
  }
  return contents;
}

/// A file with several winners, measurements and failures.
std::string sample_bytes(const TemporaryFolder& folder) {
  const fs::path path = folder / "sample.db";
  {
    TuningDb database(path, Access::read_write);
    for (const bool emulated : {false, true}) {
      const Device device = h100(emulated);
      const int64_t run = database.add_run(run_on(device));
      for (const int64_t m : {1, 8, 64}) {
        const auto provenance = emulated ? Provenance::modelled : Provenance::measured;
        add_winner(database, run, device, measurement_of(config_of(8), m, 3.5, provenance));
        database.add(run, measurement_of(config_of(16), m, 4.5, Provenance::modelled));
        database.add(run, failed(config_of(32), m, Verdict::spill, "8 bytes"));
      }
    }
  }
  return read_file(path);
}

template <typename T>
bool is_subset(const std::vector<T>& part, const std::vector<T>& whole) {
  return std::all_of(part.begin(), part.end(), [&](const T& item) {
    return std::find(whole.begin(), whole.end(), item) != whole.end();
  });
}

/// Empty, or how the rule "identical, or reported, and never anything else" was broken.
std::string broken_rule(const Contents& got, const Contents& original) {
  if (!got.error.empty()) return "";
  if (!is_subset(got.winners, original.winners)) return "a winner changed";
  if (!is_subset(got.measurements, original.measurements)) return "a measurement changed";
  const bool identical =
      got.winners == original.winners && got.measurements == original.measurements;
  if (!identical && got.warnings.empty()) return "a row vanished in silence";
  return "";
}

TEST_CASE("a flipped bit leaves identical rows or is reported, and never changes a winner") {
  const TemporaryFolder folder;
  const std::string bytes = sample_bytes(folder);
  const fs::path path = folder / "flipped.db";
  write_file(path, bytes);
  const Contents original = read(path);
  REQUIRE(original.winners.size() == 6);

  // Free space is most of a small file and flips there do nothing: three of four hit a used byte.
  std::vector<size_t> used;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != 0) used.push_back(i);
  }
  std::mt19937 random(20240607);
  size_t noticed = 0;
  for (int flip = 0; flip < 4000; ++flip) {
    const size_t at = flip % 4 == 0 ? random() % bytes.size() : used[random() % used.size()];
    const int bit = static_cast<int>(random() % 8);
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
    write_file(path, damaged);
    const Contents got = read(path);
    noticed += !got.error.empty() || !got.warnings.empty();
    const std::string broken = broken_rule(got, original);
    CHECK_MESSAGE(broken.empty(), broken, ": byte ", at, " bit ", bit);
  }
  CHECK(noticed > 2000);
}

TEST_CASE("a truncated file is set aside as it is when it is to be written, and read by nobody") {
  const TemporaryFolder folder;
  const std::string bytes = sample_bytes(folder);
  const fs::path path = folder / "cut.db";
  int set_aside = 0;
  // SQLite takes a file of one byte for an empty one; the last page holds an empty table.
  for (size_t length = 2; length < bytes.size() - 4096; length += 1913) {
    const std::string cut = bytes.substr(0, length);
    write_file(path, cut);
    CHECK_MESSAGE(!read(path).error.empty(), length);
    TuningDb database(path, Access::read_write);
    CHECK(database.warnings().size() == 1);
    CHECK(database.counts().measurements == 0);
    CHECK(read_file(path.string() + ".corrupt-" + std::to_string(++set_aside)) == cut);
  }
  CHECK(set_aside > 15);
}

TEST_CASE("a file of zero bytes is a new database") {
  const TemporaryFolder folder;
  write_file(folder / "new.db", "");
  CHECK(!read(folder / "new.db").error.empty());
  TuningDb database(folder / "new.db", Access::read_write);
  CHECK(database.warnings().empty());
  CHECK(database.counts().winners == 0);
}

TEST_CASE("a file that is no database is set aside whole, and work goes on") {
  const TemporaryFolder folder;
  const fs::path path = folder / "notes.db";
  write_file(path, "these are my notes\n");
  TuningDb database(path, Access::read_write);
  REQUIRE(database.warnings().size() == 1);
  CHECK(database.warnings()[0].find("set aside as " + path.string() + ".corrupt-1") !=
        std::string::npos);
  CHECK(read_file(path.string() + ".corrupt-1") == "these are my notes\n");
  database.add_run(run_on(h100()));
  CHECK(TuningDb(path, Access::read_only).counts().runs == 1);
}

TEST_CASE("a newer schema is refused with both versions and left as it is") {
  const TemporaryFolder folder;
  sample_bytes(folder);
  const fs::path path = folder / "sample.db";
  execute_sql(path, "PRAGMA user_version=7");
  const std::string before = read_file(path);
  for (const Access access : {Access::read_write, Access::read_only, Access::immutable}) {
    CHECK_THROWS_WITH_AS(TuningDb(path, access),
                         doctest::Contains("schema version 7 is newer than 2"), DatabaseError);
  }
  CHECK(read_file(path) == before);
}

TEST_CASE("another program's database is refused and left as it is") {
  const TemporaryFolder folder;
  const fs::path path = folder / "theirs.db";
  for (const char* sql : {"CREATE TABLE t(x)", "PRAGMA application_id=5"}) {
    execute_sql(path, sql);
    const std::string before = read_file(path);
    CHECK_THROWS_WITH_AS(TuningDb(path, Access::read_write),
                         doctest::Contains("belongs to another program"), DatabaseError);
    CHECK(read_file(path) == before);
    CHECK(!fs::exists(path.string() + ".corrupt-1"));
  }
}

TEST_CASE("a schema that differs in anything is not read") {
  const char* const kAttacks[] = {
      "CREATE TABLE extra(x)",
      "CREATE VIEW v AS SELECT 1",
      "CREATE INDEX i ON winner(config)",
      "CREATE TRIGGER t AFTER INSERT ON run BEGIN DELETE FROM winner; END",
      "ALTER TABLE winner ADD COLUMN x TEXT",
      "DROP TABLE winner;"
      "CREATE VIEW winner AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c)"
      " SELECT * FROM c",
  };
  const TemporaryFolder folder;
  const std::string bytes = sample_bytes(folder);
  for (const char* attack : kAttacks) {
    const fs::path path = folder / "attacked.db";
    write_file(path, bytes);
    execute_sql(path, attack);
    CHECK_MESSAGE(read(path).error.find("tables are not those") != std::string::npos, attack);
  }
}

TEST_CASE("a file in WAL mode is read by nobody's stale log: it returns to a rollback journal") {
  const TemporaryFolder folder;
  sample_bytes(folder);
  const fs::path path = folder / "sample.db";
  execute_sql(path, "PRAGMA journal_mode=WAL");
  { TuningDb(path, Access::read_write).add_run(run_on(h100())); }
  CHECK(!fs::exists(path.string() + "-wal"));
  CHECK(read_file(path)[18] == 1);
  CHECK(read(path).winners.size() == 6);
}

TEST_CASE("a row that was edited without its checksum is skipped and reported, the others stay") {
  const TemporaryFolder folder;
  sample_bytes(folder);
  const fs::path path = folder / "sample.db";
  execute_sql(path, "UPDATE winner SET m_hi = m_hi + 1 WHERE id = 2");
  const Contents got = read(path);
  CHECK(got.winners.size() == 5);
  REQUIRE(got.warnings.size() == 1);
  CHECK(got.warnings[0].find("winner row 2 skipped: checksum mismatch") != std::string::npos);
}

TEST_CASE("what one problem asks for reads no row or kernel of another") {
  const TemporaryFolder folder;
  const std::string path = folder / "tuning.db";
  {
    TuningDb db(path, Access::read_write);
    const int64_t run = db.add_run(run_on(h100()));
    add_winner(db, run, h100(), measurement_of(config_of(64), 64, 12));
    Measurement other = measurement_of(config_of(32), 32, 10);
    other.problem.n = 8192;
    add_winner(db, run, h100(), other);
  }
  execute_sql(path,
              "UPDATE measurement SET median_us = 0.001 WHERE id = 2;"
              "UPDATE kernel SET registers = 1 WHERE id = 2");
  TuningDb db(path, Access::read_only);
  const DeviceKey device = key_of(h100());
  CHECK(db.measurements(device, square_problem()).size() == 1);
  CHECK(db.winners(device, square_problem()).size() == 1);
  CHECK(db.warnings().empty());
  Problem other = square_problem();
  other.n = 8192;
  CHECK(db.measurements(device, other).empty());
  CHECK(db.winners(device, other).empty());
  CHECK_FALSE(db.warnings().empty());
}

TEST_CASE("a winner whose evidence is damaged does not answer") {
  const TemporaryFolder folder;
  sample_bytes(folder);
  const fs::path path = folder / "sample.db";
  execute_sql(path, "UPDATE measurement SET median_us = 0.001 WHERE id = 1");
  CHECK(read(path).winners.size() == 5);
  CHECK(read(path).measurements.size() == 17);
  execute_sql(path, "DELETE FROM measurement WHERE id = 1");
  CHECK(read(path).winners.size() == 5);
  CHECK(read(path).warnings.size() == 1);
}

TEST_CASE("a row with a right checksum and a wrong value is skipped and reported") {
  struct Lie {
    const char* set;
    const char* reason;
  };
  constexpr Lie kLies[] = {
      {"config = 'family=mma,act=bf16,block_m=0'", "outside 1..1024"},
      {"config = 'family=mma,act=bf16,turbo=1'", "unknown config"},
      {"config = 'family=mma,act=fp16'", "differ in act"},
      {"m_lo = -1", "interval"},
      {"m_hi = 9223372036854775807", "interval"},
      {"m_tuned = 0", "M = 0"},
      {"policy = 'always'", "unknown policy"},
      {"evidence = 9999", "is missing or bad"},
      {"device = 77", "device row 77"},
      {"regret_bound = -1e300", "regret bound"},
      {"runner_up = x'00'", "runner_up"},  // STRICT refuses it while it is written
      {"provenance = 'modelled'", "another candidate"},
  };
  const TemporaryFolder folder;
  const std::string bytes = sample_bytes(folder);
  const fs::path path = folder / "lying.db";
  for (const Lie& lie : kLies) {
    write_file(path, bytes);
    if (!forge_row(path, "winner", 1, lie.set)) continue;
    const Contents got = read(path);
    CHECK_MESSAGE(got.winners.size() == 5, lie.set);
    REQUIRE_MESSAGE(!got.warnings.empty(), lie.set);
    CHECK_MESSAGE(got.warnings.back().find(lie.reason) != std::string::npos, got.warnings.back());
  }
}

TEST_CASE("a lying measurement is skipped and reported") {
  const char* const kLies[] = {
      "median_us = -1",
      "median_us = 9e999",
      "median_us = 0",
      "q1_us = 1e9",
      "m = 1048577",
      "verdict = 'great'",
      "samples = -1",
      "throttled = 2",
      "samples_us = x'000102'",
      "text = char(27,91)",
      "run = 0",
      "kernel = 55",
      "provenance = 'felt'",
      "samples_us = zeroblob(20000)",
  };
  const TemporaryFolder folder;
  const std::string bytes = sample_bytes(folder);
  const fs::path path = folder / "lying.db";
  for (const char* lie : kLies) {
    write_file(path, bytes);
    REQUIRE_MESSAGE(forge_row(path, "measurement", 1, lie), lie);
    const Contents got = read(path);
    CHECK_MESSAGE(got.measurements.size() == 17, lie);
    CHECK_MESSAGE(got.winners.size() == 5, lie);
    CHECK_MESSAGE(!got.warnings.empty(), lie);
  }
}

TEST_CASE("a damaged device row is not written to again") {
  const TemporaryFolder folder;
  sample_bytes(folder);
  const fs::path path = folder / "sample.db";
  execute_sql(path, "UPDATE device SET sm_count = 1; UPDATE kernel SET registers = 1");
  TuningDb database(path, Access::read_write);
  CHECK(database.winners().empty());
  const int64_t run = database.add_run(run_on(h100()));
  add_winner(database, run, h100(), measurement_of(config_of(8), 64, 3));
  CHECK(database.winners().size() == 1);
}

}  // namespace
}  // namespace nvfp4
