// SPDX-License-Identifier: Apache-2.0
// Files of earlier versions: tests/data/tuning_v1.db was written by a program of schema version 1.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/raw_sqlite.h"
#include "tests/temporary_folder.h"
#include "tests/tuning_db_fixture.h"
#include "tuning_db/schema.h"

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

fs::path old_file(const TemporaryFolder& folder) {
  fs::path path = folder / "tuning.db";
  fs::copy_file(NVFP4_SOURCE_DIR "/tests/data/tuning_v1.db", path);
  fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
  return path;
}

/// What the fixture holds, by whichever door it is read.
void check_contents(TuningDb& database) {
  const std::vector<RunRecord> runs = database.runs();
  REQUIRE(runs.size() == 1);
  CHECK(runs[0].command.starts_with("nvfp4-tune --shape 64,64 --M 1,8 --device emulated:h100"));
  CHECK(runs[0].purpose == Purpose::tune);
  CHECK(runs[0].source_commit == "");
  CHECK(runs[0].driver_release == "");
  CHECK(runs[0].stream_gbps == 0);
  CHECK(database.measurements().size() == 6);
  for (const Measurement& row : database.measurements()) {
    CHECK(row.problem == Problem{.n = 64, .k = 64, .arch = {9, 0, true}});
    CHECK(row.verdict == Verdict::ok);
    CHECK(row.timing.median_us > 2);
    CHECK(row.timing.launch_us == 0);
    CHECK(row.timing.temperature_c == 0);
  }
  const std::vector<Winner> winners = database.winners();
  REQUIRE(winners.size() == 2);
  CHECK(winners[0].interval == MInterval{1, 7});
  CHECK(winners[1].interval == MInterval{8, 8});
  CHECK(winners[0].origin == WinnerOrigin::tuned);
  CHECK(database.rivals().empty());
  CHECK(database.warnings().empty());
}

TEST_CASE("a file of version 1 is read without a change to it") {
  const TemporaryFolder folder;
  const fs::path path = old_file(folder);
  const std::string before = read_file(path);
  for (const Access access : {Access::read_only, Access::immutable}) {
    TuningDb database(path, access);
    check_contents(database);
    CHECK(database.path() == path);
    CHECK_THROWS_AS(database.add_run(run_on(h100())), DatabaseError);
  }
  CHECK(read_file(path) == before);
}

TEST_CASE("a file of version 1 becomes a current one when it is opened for writing") {
  const TemporaryFolder folder;
  const fs::path path = old_file(folder);
  {
    TuningDb database(path, Access::read_write);
    check_contents(database);
    const int64_t run = database.add_run(run_on(h100()));
    add_winner(database, run, h100(), measurement_of(config_of(64), 64, 12.5));
  }
  TuningDb database(path, Access::immutable);
  CHECK(database.winners().size() == 3);
  CHECK(database.measurements().size() == 7);
  CHECK(database.runs().back().driver_release == "580.159.04");
  CHECK(fs::file_size(path) % 4096 == 0);
  CHECK(!fs::exists(path.string() + ".corrupt-1"));
}

TEST_CASE("a damaged row of an old file is still damaged in the new one, and the rest is kept") {
  const TemporaryFolder folder;
  const fs::path path = old_file(folder);
  execute_sql(path, "UPDATE winner SET m_hi = m_hi + 1 WHERE id = 1");
  TuningDb database(path, Access::read_write);
  CHECK(database.winners().size() == 1);
  REQUIRE(database.warnings().size() == 1);
  CHECK(database.warnings()[0].find("winner row 1 skipped: checksum mismatch") !=
        std::string::npos);
}

TEST_CASE("every table of version 1 keeps its rows, candidates in flight included") {
  const TemporaryFolder folder;
  const fs::path path = old_file(folder);
  execute_sql(path, "INSERT INTO attempt VALUES(1, 1, 1, (SELECT config FROM winner), 0)");
  REQUIRE(forge_row(path, "attempt", 1, "run = 1"));
  execute_sql(path, "INSERT INTO baseline VALUES(1, 'release', 2, 0)");
  REQUIRE(forge_row(path, "baseline", 1, "name = 'release'"));
  TuningDb database(path, Access::read_write);
  check_contents(database);
  const Winner winner = database.winners()[0];
  CHECK(database.suspects(winner.device, winner.problem).size() == 1);
  CHECK(database.warnings().empty());
  REQUIRE(forge_row(path, "baseline", 1, "name = name"));  // it is there
}

TEST_CASE("a file that says version 1 and has other tables is no database of ours") {
  const TemporaryFolder folder;
  const fs::path path = old_file(folder);
  execute_sql(path, "CREATE VIEW v AS SELECT 1");
  const std::string before = read_file(path);
  CHECK_THROWS_WITH_AS(TuningDb(path, Access::immutable),
                       doctest::Contains("tables are not those of version 1"), DatabaseError);
  TuningDb database(path, Access::read_write);
  CHECK(database.warnings().size() == 1);
  CHECK(database.counts().winners == 0);
  CHECK(read_file(path.string() + ".corrupt-1") == before);
}

TEST_CASE("the text of version 1 makes what its programs wrote") {
  const TemporaryFolder folder;
  const fs::path path = folder / "made.db";
  execute_sql(path, kSchemas[0]);
  execute_sql(
      path, "PRAGMA application_id=" + std::to_string(kApplicationId) + "; PRAGMA user_version=1");
  CHECK(TuningDb(path, Access::read_only).counts().runs == 0);
  CHECK(TuningDb(path, Access::read_write).warnings().empty());
}

}  // namespace
}  // namespace nvfp4
