// SPDX-License-Identifier: Apache-2.0
// The command db of the real program: what a user sees, where results go, and the exit codes.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/cli_process.h"
#include "tests/raw_sqlite.h"
#include "tests/tuning_db_fixture.h"

using namespace nvfp4;
using Json = nlohmann::json;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// A database that an H100 gave: two tokens counts of one shape, a runner-up, a failure.
std::string sample(const TemporaryFolder& folder, const std::string& name = "tuning.db",
                   double us = 12.5) {
  const std::string path = folder / name;
  TuningDb database(path, Access::read_write);
  RunRecord record = run_on(h100());
  record.command = "nvfp4-tune --shape 4096,4096 --M 64 --db /home/someone/" + name;
  const int64_t run = database.add_run(record);
  const Measurement second = measurement_of(config_of(32), 64, us * 1.1);
  database.add(run, second);
  database.add(run, failed(config_of(128), 64, Verdict::spill, "8 bytes in /home/someone/x.cu"));
  Measurement row = measurement_of(config_of(64), 64, us);
  row.timing.samples = 15;
  Winner winner = winner_of(h100(), row, database.add(run, row));
  winner.runner_up = config_of(32);
  database.store(winner);
  add_winner(database, run, h100(), measurement_of(config_of(8), 1, 4.5));
  return path;
}

/// The same with a winner for 32 experts of the dense one's shape and M.
std::string mixture(const TemporaryFolder& folder, const std::string& name, double us) {
  std::string path = sample(folder, name);
  TuningDb database(path, Access::read_write);
  Measurement row = measurement_of(config_of(8), 1, us);
  row.problem.kind = ProblemKind::grouped;
  row.problem.experts = 32;
  row.timing.samples = 15;
  add_winner(database, database.add_run(run_on(h100())), h100(), row);
  return path;
}

std::vector<std::string> with_db(const std::string& path) {
  return {"NVFP4_DB=" + path, "NVFP4_CACHE=" NVFP4_BINARY_DIR "/tests/cli_cache"};
}

}  // namespace

TEST_SUITE("db command") {
  TEST_CASE("list shows every winner, and filters choose among them") {
    const TemporaryFolder folder;
    const auto db = with_db(sample(folder));
    const auto rows = [&](const std::string& options) {
      const CliResult result = run_cli("db list --format json " + options, db);
      REQUIRE_MESSAGE(result.code == 0, result.err);
      return Json::parse(result.out)["rows"].size();
    };
    CHECK(rows("") == 2);
    CHECK(rows("--shape 4096,4096") == 2);
    CHECK(rows("--shape 4096,8192") == 0);
    CHECK(rows("--M 64") == 1);
    CHECK(rows("--M 1,64") == 2);
    CHECK(rows("--M 4") == 2);  // inside the intervals of both
    CHECK(rows("--policy graph+pdl --act bf16 --provenance measured --experts 0") == 2);
    CHECK(rows("--policy graph") == 0);
    CHECK(rows("--act fp16") == 0);
    CHECK(rows("--provenance modelled") == 0);
    CHECK(rows("--experts 8") == 0);
    const CliResult table = run_cli("db list", db);
    CHECK(contains(table.out, "NVIDIA H100"));
    CHECK(contains(table.out, "12.50"));
    CHECK(run_cli("db list --provenance felt", db).code == 2);
    CHECK(run_cli("db list --seed 3", db).code == 2);
    CHECK(run_cli("db", db).code == 2);
  }

  TEST_CASE("show says what a winner rests on and how to repeat it") {
    const TemporaryFolder folder;
    const auto db = with_db(sample(folder));
    const CliResult shown = run_cli("db show --shape 4096,4096 --M 60", db);
    REQUIRE_MESSAGE(shown.code == 0, shown.err);
    for (const char* part :
         {"12.500 us (quartiles 12.375 and 12.625, 15 samples), measured", "+10.0 %",
          "raw samples   3 kept", "NVRTC 13.0, driver 13.0 (580.159.04)", "long read 2994",
          "1755 MHz, 41 C", "v1.2-3-gabcdef0", "1..64, tuned at 64",
          "reproduce     nvfp4-tune --shape 4096,4096 --M 64 --act bf16 --policy graph+pdl "
          "--config family=mma"}) {
      CHECK_MESSAGE(contains(shown.out, part), part);
    }
    const Json json =
        Json::parse(run_cli("db show --shape 4096,4096 --M 64 --format json", db).out);
    CHECK(json["winner"]["us"] == 12.5);
    CHECK(json["samples_us"].size() == 3);
    const CliResult none = run_cli("db show --shape 4096,4096 --M 4000", db);
    CHECK(none.code == 1);
    CHECK(contains(none.err, "no winner for N = 4096, K = 4096, M = 4000"));
    CHECK(run_cli("db show --shape 4096,4096", db).code == 2);
  }

  TEST_CASE("info counts what a file holds, and says what is wrong with one") {
    const TemporaryFolder folder;
    const std::string path = sample(folder);
    const auto row = [](const CliResult& result) { return Json::parse(result.out)["rows"][0]; };
    const CliResult info = run_cli("db info --format json", with_db(path));
    REQUIRE(info.code == 0);
    CHECK(row(info)["layer"] == "user");
    CHECK(row(info)["rows"] == 4);
    CHECK(row(info)["failed"] == 1);
    CHECK(row(info)["winners"] == 2);
    CHECK(Json::parse(info.out)["rows"][1]["layer"] == "shipped");
    execute_sql(path, "UPDATE winner SET m_hi = 7 WHERE id = 1");
    CHECK(row(run_cli("db info --format json", with_db(path)))["bad_rows"] == 1);
    std::ofstream(folder / "notes.db") << "my notes, and nothing else at all\n";
    const CliResult notes = run_cli("db info --db " + (folder / "notes.db").string());
    CHECK(notes.code == 1);
    CHECK(contains(notes.out, "not a database"));
    const CliResult missing = run_cli("db info --db " + (folder / "none.db").string());
    CHECK(missing.code == 0);
    CHECK(contains(missing.out, "not there yet"));
    CHECK_FALSE(std::filesystem::exists(folder / "none.db"));
  }

  TEST_CASE("of a database that could not be built nothing is left, and it says why") {
    const TemporaryFolder folder;
    const auto entries = [&] {
      return std::distance(std::filesystem::directory_iterator(folder.path()), {});
    };
    const std::string text = folder / "text.csv", other = folder / "folder";
    std::ofstream(text) << "no winners";
    std::filesystem::create_directory(other);
    const CliResult bad = run_cli("db build " + text + " " + (folder / "new.db").string());
    CHECK(bad.code == 1);
    CHECK(entries() == 2);
    const CliResult over =
        run_cli("db build " NVFP4_SOURCE_DIR "/tuning_db/gpus/h100-sxm5.csv " + other + " --force");
    CHECK(over.code == 1);
    CHECK(over.err == "nvfp4-tune: " + other + " is a directory\n");
    CHECK(entries() == 2);
  }

  TEST_CASE("a history that is exported is whole, and names no file of the machine") {
    const TemporaryFolder folder;
    const std::string path = sample(folder);
    const std::string given = folder / "given.db";
    const CliResult first = run_cli("db export --history " + given, with_db(path));
    REQUIRE_MESSAGE(first.code == 0, first.err);
    std::ifstream file(given, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    CHECK_FALSE(contains(bytes, "someone"));
    CHECK_FALSE(contains(bytes, folder.path().string()));
    CHECK(TuningDb(given, Access::immutable).measurements().size() == 4);
    CHECK(TuningDb(given, Access::immutable).winners().size() == 2);
    const CliResult again = run_cli("db export --history " + given, with_db(path));
    CHECK(again.code == 1);
    CHECK(contains(again.err, "--force replaces it"));
    CHECK(run_cli("db export --force --history " + given, with_db(path)).code == 0);
  }

  TEST_CASE("import takes text and databases as hints, and refuses lying rows by name") {
    const TemporaryFolder folder;
    const std::string sent = sample(folder);
    const std::string text = folder / "card.csv";
    REQUIRE(run_cli("db export", with_db(sent), text).code == 0);
    const std::string own = folder / "own.db";
    const CliResult taken = run_cli("db import " + text + " " + sent, with_db(own));
    REQUIRE_MESSAGE(taken.code == 0, taken.err);
    CHECK(contains(taken.out, "card.csv: 2 winners taken as hints, 0 rows refused"));
    CHECK(TuningDb(own, Access::read_only).winners().size() == 2);
    for (const Winner& w : TuningDb(own, Access::read_only).winners()) {
      CHECK(w.origin == WinnerOrigin::imported);
    }
    REQUIRE(forge_row(sent, "measurement", 4, "median_us = 0.125, q1_us = 0.125"));
    const CliResult lying = run_cli("db import " + sent, with_db(folder / "other.db"));
    CHECK(lying.code == 1);
    CHECK(contains(lying.out, "1 winners taken as hints, 1 rows refused"));
    CHECK(contains(lying.err, "refused: "));
    CHECK(contains(lying.err, "0.125 us is less than the 2.735 us that reading the weights takes"));
    std::ofstream(folder / "evil.csv")
        << std::ifstream(text).rdbuf() << "4096,4096,0,bf16,\x1b[2Jgraph" << std::string(19, ',')
        << "\"\"\n";
    const CliResult evil = run_cli("db import " + (folder / "evil.csv").string(), with_db(own));
    CHECK(contains(evil.err, "evil.csv:11: '?[2Jgraph' is no launch policy"));
    CHECK_FALSE(contains(evil.err + evil.out, "\x1b"));
    CHECK(run_cli("db import " + (folder / "none.csv").string(), with_db(own)).code == 1);
    CHECK(run_cli("db import", with_db(own)).code == 2);
  }

  TEST_CASE("grouped winners go through every verb beside dense ones of their shape") {
    const TemporaryFolder folder;
    const std::string a = mixture(folder, "a.db", 6.5), b = mixture(folder, "b.db", 9.25);
    const auto rows = [&](const std::string& command) {
      const CliResult result = run_cli(command + " --format json");
      REQUIRE_MESSAGE(result.code == 0, result.err);
      return Json::parse(result.out)["rows"];
    };
    CHECK(rows("db list --db " + a).size() == 3);
    const Json listed = rows("db list --experts 32 --db " + a);
    REQUIRE(listed.size() == 1);
    CHECK(listed[0]["us"] == 6.5);
    CHECK(contains(run_cli("db list --db " + a).out, "experts"));

    const std::string show = "db show --shape 4096,4096 --M 1 --db " + a;
    CHECK(contains(run_cli(show).out, "time          4.500 us"));
    const CliResult shown = run_cli(show + " --experts 32");
    CHECK(contains(shown.out, "grouped layout=1 n=4096 k=4096 act=bf16 arch=sm_90a experts=32"));
    CHECK(contains(shown.out, "--shape 4096,4096 --experts 32 --M 1"));
    CHECK(contains(run_cli(show + " --experts 8").err, "K = 4096, 8 experts, M = 1"));

    const Json different = rows("db diff " + a + " " + b);
    REQUIRE(different.size() == 1);
    CHECK(different[0]["experts"] == 32);
    CHECK(different[0]["difference"] == "slower");

    const std::string all = folder / "all.db";
    REQUIRE(run_cli("db merge " + b + " " + a + " --db " + all).code == 0);
    CHECK(rows("db list --experts 32 --db " + all)[0]["us"] == 6.5);
    CHECK(rows("db diff " + a + " " + all).empty());

    const std::string text = folder / "card.csv", own = folder / "own.db";
    REQUIRE(run_cli("db export --db " + all, {}, text).code == 0);
    const CliResult taken = run_cli("db import " + text + " --db " + own);
    CHECK_MESSAGE(contains(taken.out, "3 winners taken as hints, 0 rows refused"), taken.err);
    CHECK(rows("db diff " + all + " " + own).size() == 6);  // hints compete with hints only
    const std::string built = folder / "card.db";
    REQUIRE(run_cli("db build " + text + " " + built).code == 0);
    CHECK(rows("db diff " + all + " " + built).empty());
    CHECK(run_cli("db export --db " + built).out == run_cli("db export --db " + all).out);
  }

  TEST_CASE("import and merge of a file that is not there make no database") {
    const TemporaryFolder folder;
    const std::string path = folder / "tuning.db";
    const std::string missing = folder / "missing";
    for (const std::string command : {"import ", "merge "}) {
      const CliResult result = run_cli("db " + command + missing, with_db(path));
      CHECK(result.code == 1);
      CHECK(contains(result.err, missing));
      CHECK_FALSE(std::filesystem::exists(path));
    }
  }

  TEST_CASE("what two tasks measured is merged, once") {
    const TemporaryFolder folder;
    const std::string a = sample(folder, "a.db");
    const std::string b = sample(folder, "b.db", 11.5);
    const std::string all = folder / "all.db";
    const std::string merge = "db merge " + a + " " + b + " --db " + all;
    const CliResult first = run_cli(merge);
    REQUIRE_MESSAGE(first.code == 0, first.err);
    CHECK(contains(first.out, "2 runs, 8 rows, 0 comparisons and 2 winners added"));
    CHECK(contains(run_cli(merge).out, "0 runs, 0 rows, 0 comparisons and 0 winners added"));
    const std::string other = folder / "other.db";
    REQUIRE(run_cli("db merge " + b + " " + a + " --db " + other).code == 0);
    const CliResult diff = run_cli("db diff " + all + " " + other);
    CHECK(diff.code == 0);
    CHECK(contains(diff.out, "2 alike, 0 different"));
    const Json json = Json::parse(run_cli("db diff " + a + " " + b + " --format json").out);
    REQUIRE(json["rows"].size() == 1);
    CHECK(json["rows"][0]["difference"] == "faster");
    CHECK(json["rows"][0]["ratio"].get<double>() == doctest::Approx(0.92));
    CHECK(json["rows"][0]["reason"] == "");
    const std::string near = sample(folder, "near.db", 12.625);
    const Json doubt = Json::parse(run_cli("db diff " + a + " " + near + " --format json").out);
    REQUIRE(doubt["rows"].size() == 1);
    CHECK(doubt["rows"][0]["difference"] == "ambiguous");
    CHECK(doubt["rows"][0]["reason"] ==
          "overlap: 1.0 % slower, but the quartiles overlap by 50.5 %");
    CHECK(run_cli("db merge " + all + " --db " + all).code == 1);
  }

  TEST_CASE("compact says how many bytes there were, and keeps the winners") {
    const TemporaryFolder folder;
    const std::string path = sample(folder);
    const std::vector<Winner> before = TuningDb(path, Access::immutable).winners();
    const CliResult result = run_cli("db compact", with_db(path));
    REQUIRE_MESSAGE(result.code == 0, result.err);
    CHECK(contains(result.out, "bytes before"));
    CHECK(TuningDb(path, Access::immutable).winners() == before);
    CHECK(run_cli("db compact --db " + (folder / "none.db").string()).code == 1);
    CHECK_FALSE(std::filesystem::exists(folder / "none.db"));
  }

  TEST_CASE("verify runs grouped winners again") {
    const TemporaryFolder folder;
    const auto db = with_db(folder / "tuning.db");
    const std::string device = " --device emulated:h100 ";
    const CliResult tuned = run_cli(
        "--shape 64,64 --experts 4 --M 3 --policy graph --config "
        "family=mma,act=bf16,block_n=32,block_m=8,warps_k=2" +
            device,
        db);
    REQUIRE_MESSAGE(tuned.code == 0, tuned.err);
    const CliResult verified = run_cli("db verify --format json" + device, db);
    REQUIRE_MESSAGE(verified.code == 0, verified.err);
    const Json row = Json::parse(verified.out)["rows"][0];
    CHECK(row["experts"] == 4);
    CHECK(row["verdict"] == "same");
    CHECK(row["code"] == "same");
  }

  TEST_CASE("verify runs winners again: the same, slower, of other machine code, or wrong") {
    const TemporaryFolder folder;
    const std::string path = folder / "tuning.db";
    const auto db = with_db(path);
    const std::string device = " --device emulated:h100 ";
    const std::string config = "family=mma,act=bf16,block_n=32,block_m=8,warps_k=2";
    REQUIRE(run_cli("--shape 64,64 --M 1 --policy graph --config " + config + device, db).code ==
            0);
    const std::string verify = "db verify --format json" + device;
    const CliResult same = run_cli(verify, db);
    REQUIRE_MESSAGE(same.code == 0, same.err);
    CHECK(contains(same.err, "times are modelled"));
    const Json row = Json::parse(same.out)["rows"][0];
    CHECK(row["verdict"] == "same");
    CHECK(row["code"] == "same");
    CHECK(row["provenance"] == "modelled");
    CHECK(row["reason"] == "");

    const std::string time = "median_us = 1, q1_us = 1, q3_us = 1";
    REQUIRE(forge_row(path, "measurement", TuningDb(path, Access::read_only).winners()[0].evidence,
                      time));
    REQUIRE(forge_row(path, "kernel", 1, "code_hash = 'other'"));
    const CliResult slower = run_cli(verify + "--sample 5%", db);
    CHECK(slower.code == 5);
    const Json changed = Json::parse(slower.out)["rows"][0];
    CHECK(changed["verdict"] == "slower");
    CHECK(changed["code"] == "changed");
    CHECK(run_cli("db verify --device emulated:a100", db).code == 1);
    CHECK(run_cli(verify + "--sample 0%", db).code == 2);
  }
}
