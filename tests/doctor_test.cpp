// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/cli_process.h"
#include "tests/raw_sqlite.h"
#include "tests/tuning_db_fixture.h"

using namespace nvfp4;
using Json = nlohmann::json;

namespace {

const std::string kEmulated = "doctor --device emulated:h100 --format json";

CliResult doctor(const std::string& arguments, const std::vector<std::string>& more) {
  std::vector<std::string> variables = {"NVFP4_CACHE=" NVFP4_BINARY_DIR "/tests/cli_cache",
                                        "NVFP4_DB", "XDG_DATA_HOME"};
  variables.insert(variables.end(), more.begin(), more.end());
  return run_cli(arguments, variables);
}

/// The findings about a subject, "state: finding", one a line.
std::string about(const CliResult& result, const std::string& subject) {
  std::string text;
  const Json report = Json::parse(result.out);
  for (const Json& row : report["rows"]) {
    if (row["subject"] != subject) continue;
    text += row["state"].get<std::string>() + ": " + row["finding"].get<std::string>() + "\n";
  }
  return text;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE("doctor") {
  TEST_CASE("a machine with all that it takes is well, and nothing is made on it") {
    const TemporaryFolder folder;
    const CliResult well = doctor(kEmulated, {"HOME=" + folder.path().string()});
    REQUIRE_MESSAGE(well.code == 0, well.out);
    CHECK(contains(about(well, "GPU"), "ok: NVIDIA H100"));
    CHECK(contains(about(well, "NVRTC"), "ok: 1"));
    CHECK(contains(about(well, "user database"), "tuning.db will be made"));
    CHECK(contains(about(well, "shipped database"), "winners"));
    CHECK(std::filesystem::is_empty(folder.path()));
    const CliResult table = doctor("doctor --device emulated:h100", {"HOME=/tmp"});
    CHECK(contains(table.out, "what to do"));
  }

  TEST_CASE("without a GPU it says so and what does without, exit code 3") {
    const TemporaryFolder folder;
    const CliResult ill =
        doctor("doctor --device 99 --format json", {"HOME=" + folder.path().string()});
    CHECK((ill.code == 3 || ill.code == 2));  // 2: there is a GPU, and no number 99
    if (ill.code == 3) {
      CHECK(contains(about(ill, "GPU"), "problem: "));
      CHECK(contains(ill.out, "emulated:h100"));
      CHECK(contains(about(ill, "NVRTC"), "ok: "));
    }
  }

  TEST_CASE("without NVRTC the exit code is 3 and the rest is still looked at") {
    const TemporaryFolder folder;
    const CliResult ill =
        doctor(kEmulated, {"HOME=" + folder.path().string(), "NVFP4_NVRTC=/none.so"});
    CHECK(ill.code == 3);
    CHECK(contains(about(ill, "NVRTC"), "problem: NVFP4_NVRTC cannot be loaded"));
    CHECK(contains(about(ill, "user database"), "ok: "));
  }

  TEST_CASE("a database without a home, in a folder that cannot be written, or damaged") {
    const CliResult homeless = doctor(kEmulated, {"HOME"});
    CHECK(homeless.code == 1);
    CHECK(contains(about(homeless, "user database"), "problem: neither NVFP4_DB"));
    const CliResult sealed = doctor(kEmulated, {"NVFP4_DB=/proc/self/tuning.db"});
    CHECK(sealed.code == 1);
    CHECK(contains(about(sealed, "user database"), "problem: "));

    const TemporaryFolder folder;
    const std::string path = folder / "tuning.db";
    {
      TuningDb database(path, Access::read_write);
      add_winner(database, database.add_run(run_on(h100())), h100(),
                 measurement_of(config_of(8), 1, 4.5));
    }
    std::ofstream(path + ".corrupt-1") << "once a database";
    const CliResult healthy = doctor(kEmulated, {"NVFP4_DB=" + path});
    CHECK(healthy.code == 0);
    CHECK(contains(about(healthy, "user database"), "1 winners, 1 rows"));
    CHECK(contains(about(healthy, "user database"), "note: tuning.db.corrupt-1 was set aside"));
    execute_sql(path, "UPDATE winner SET m_hi = 7");
    const CliResult damaged = doctor(kEmulated, {"NVFP4_DB=" + path});
    CHECK(damaged.code == 1);
    CHECK(contains(about(damaged, "user database"), "checksum mismatch"));
    std::ofstream(path) << "no database at all, only words";
    CHECK(contains(about(doctor(kEmulated, {"NVFP4_DB=" + path}), "user database"),
                   "not a database"));
  }
}
