// SPDX-License-Identifier: Apache-2.0
// The real program on the emulated device: the main job, its repetition, lookups, what ends it
// early, and what it refuses.
#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "tests/cli_process.h"

using namespace nvfp4;
using Json = nlohmann::json;

namespace {

// Small enough for seconds, large enough for several candidates.
const std::string kTune = "--device emulated:h100 --shape 64,128 --M 64 --format json ";

// All cases share compiled kernels; each has a database of its own.
std::vector<std::string> in(const TemporaryFolder& folder) {
  return {"NVFP4_DB=" + (folder / "tuning.db").string(),
          "NVFP4_CACHE=" NVFP4_BINARY_DIR "/tests/cli_cache"};
}

std::vector<std::string> with(std::vector<std::string> variables, const std::string& more) {
  variables.push_back(more);
  return variables;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE("cli") {
  TEST_CASE("a problem is tuned, remembered, and answered again without work") {
    TemporaryFolder folder;
    const CliResult first = run_cli(kTune, in(folder));
    REQUIRE_MESSAGE(first.code == 0, first.err);
    CHECK(contains(first.err, "modelled"));
    const Json tuned = Json::parse(first.out);
    CHECK(tuned["schema"] == 1);
    CHECK(tuned["emulated"] == true);
    CHECK(tuned["end"] == "complete");
    REQUIRE(tuned["rows"].size() == 2);  // graph and graph+pdl
    for (const Json& row : tuned["rows"]) {
      CHECK(row["provenance"] == "modelled");
      CHECK(row["answer"] == "this run");
      CHECK(row["us"] > 0.0);
      CHECK(row["gate"].get<std::string>().starts_with("ok: exact data"));
      CHECK(row["m_lo"] <= 63);
    }
    for (const Json& row : tuned["candidates"]) CHECK(row["verdict"] == "ok");

    const auto begin = std::chrono::steady_clock::now();
    const CliResult second = run_cli(kTune, in(folder));
    CHECK(second.code == 0);
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
    const Json again = Json::parse(second.out);
    CHECK(again["candidates"].empty());
    CHECK(again["rows"][0]["answer"] == "database");
    CHECK(again["rows"][0]["config"] == tuned["rows"][0]["config"]);

    const std::string ask = "lookup --device emulated:h100 --format json --shape ";
    const Json lookup = Json::parse(run_cli(ask + "64,128 --M 64,63,100000", in(folder)).out);
    REQUIRE(lookup["rows"].size() == 6);
    CHECK(lookup["rows"][0]["layer"] == "user");
    CHECK(lookup["rows"][0]["config"] == tuned["rows"][0]["config"]);
    CHECK(lookup["rows"][2]["layer"] == "user");
    CHECK(lookup["rows"][4]["layer"] == "default");
    CHECK(run_cli(ask + "64,128 --M 63 --strict", in(folder)).code == 0);
    const CliResult miss = run_cli(ask + "128,128 --M 64 --strict", in(folder));
    CHECK(miss.code == 6);
    CHECK(Json::parse(miss.out)["rows"][0]["match"] == "default");
    // Emulated rows never answer for another card.
    CHECK(
        run_cli("lookup --device emulated:a100 --shape 64,128 --M 64 --strict", in(folder)).code ==
        6);
  }

  TEST_CASE("every form of output is valid and nothing else is on standard output") {
    TemporaryFolder folder;
    const std::string command =
        "--device emulated:h100 --shape 64,128 --M 8 --effort quick --format ";
    CHECK(Json::accept(run_cli(command + "json", in(folder)).out));
    const std::string lines = run_cli(command + "jsonl", in(folder)).out;
    std::istringstream stream(lines);
    int count = 0;
    for (std::string line; std::getline(stream, line); ++count) CHECK(Json::accept(line));
    CHECK(count == 2);
    CHECK(run_cli(command + "csv", in(folder)).out.starts_with("m,policy,us,"));
    CHECK(run_cli(command + "md", in(folder)).out.starts_with("|"));
    const CliResult table = run_cli(command + "table", in(folder));
    CHECK(contains(table.out, "modelled"));
    CHECK(contains(table.out, "gate M=8"));
    CHECK_FALSE(contains(table.err, "\x1b"));  // no terminal
  }

  TEST_CASE("one config alone can be tuned, and a wrong one for the device is refused") {
    TemporaryFolder folder;
    const std::string config = "family=mma,act=bf16,block_n=32,block_m=8,warps_k=2";
    const CliResult result = run_cli(kTune + "--policy graph --config " + config, in(folder));
    REQUIRE_MESSAGE(result.code == 0, result.err);
    CHECK(Json::parse(result.out)["rows"][0]["config"] == config);
    const CliResult refused = run_cli(kTune + "--config " + config, in(folder));
    CHECK(refused.code == 2);
    CHECK(contains(refused.err, "pdl"));
  }

  TEST_CASE("a candidate that faults costs itself only") {
    TemporaryFolder folder;
    // Each GPU worker's 12th kernel faults: the first candidate passes, the second does not.
    const CliResult result =
        run_cli(kTune, with(in(folder), "NVFP4_EMULATOR_FAULTS=kernel:12=700"));
    REQUIRE_MESSAGE(result.code == 0, result.err);
    int faults = 0;
    int passes = 0;
    const Json document = Json::parse(result.out);
    for (const Json& row : document["candidates"]) {
      faults += row["verdict"] == "fault";
      passes += row["verdict"] == "ok";
    }
    CHECK(faults >= 1);
    CHECK(passes >= 2);
  }

  TEST_CASE("Ctrl-C keeps what is done and says so") {
    TemporaryFolder folder;
    // Half a minute's work at least, wherever it runs.
    CliProcess process("--device emulated:h100 --shape 4096,4096 --M 8:64*2 --force", in(folder));
    std::this_thread::sleep_for(std::chrono::seconds(3));
    process.signal(SIGINT);
    const auto begin = std::chrono::steady_clock::now();
    const CliResult result = process.wait();
    CHECK(result.code == 130);
    CHECK(contains(result.err, "interrupted"));
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
    CHECK(run_cli("lookup --device emulated:h100 --shape 4096,4096 --M 8", in(folder)).code == 0);
  }

  TEST_CASE("killed at any moment, the next run goes on from there") {
    TemporaryFolder folder;
    const std::string command =
        "--device emulated:h100 --shape 512,1024 --M 64 --policy graph --format json ";
    for (int milliseconds : {30, 100, 300, 1000, 2000}) {
      CliProcess process(command + "--force", in(folder));
      std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
      process.signal(SIGKILL);
      const int code = process.wait().code;
      CHECK((code == 128 + SIGKILL) != (code == 0));  // or it was done already
    }
    const CliResult result = run_cli(command, in(folder));
    REQUIRE_MESSAGE(result.code == 0, result.err);
    const Json document = Json::parse(result.out);
    CHECK(document["rows"].size() == 1);
    CHECK_FALSE(contains(result.err, "corrupt"));
  }

  TEST_CASE("two tuners share one database") {
    TemporaryFolder folder;
    CliProcess one(kTune, in(folder));
    CliProcess two(kTune, in(folder));
    CHECK(one.wait().code == 0);
    CHECK(two.wait().code == 0);
    CHECK(
        run_cli("lookup --device emulated:h100 --shape 64,128 --M 64 --strict", in(folder)).code ==
        0);
  }
}

TEST_SUITE("cli refusals") {
  // Every refusal is one line on standard error and nothing on standard output.
  void refused(const std::string& arguments, int code, const std::string& words,
               const std::vector<std::string>& variables) {
    CAPTURE(arguments);
    const CliResult result = run_cli(arguments, variables);
    CHECK_MESSAGE(result.code == code, result.err);
    CHECK(result.out.empty());
    CHECK_MESSAGE(contains(result.err, words), result.err);
    const size_t last = result.err.find_last_of('\n', result.err.size() - 2);
    const std::string line = result.err.substr(last == std::string::npos ? 0 : last + 1);
    CHECK(line.starts_with("nvfp4-tune: "));
  }

  TEST_CASE("bad input is named, with the right exit code") {
    TemporaryFolder folder;
    const auto variables = in(folder);
    refused("--shape 0,64 --M 1", 2, "0,64", variables);
    refused("--shape -1,4096 --M 1", 2, "-1", variables);
    refused("--shape 4096 --M 1", 2, "4096", variables);
    refused("--shape 4096x4096 --M 1", 2, "4096x4096", variables);
    refused("--shape abc --M 1", 2, "abc", variables);
    refused("--shape 64,100 --M 1", 2, "100", variables);
    refused("--shape 2147483648,2147483648 --M 1", 2, "2147483648", variables);
    refused("--shape 64,64 --M 0", 2, "M = 0", variables);
    refused("--shape 64,64 --M 100000000", 2, "100000000", variables);
    refused("--shape 64,64 --M=", 2, "--M", variables);
    refused("--shape 64,64 --M 1 --device emulated:b200", 2, "emulated:h100", variables);
    refused("--shape 64,64 --M 1 --device gpu", 2, "gpu", variables);
    refused("emit --shape 64,64 --M 1 --arch sm_61", 2, "sm_61", variables);
    refused("--shape 64,64 --M 1 --device emulated:a100 --policy graph+pdl", 2, "sm_90", variables);
    CHECK_FALSE(std::filesystem::exists(folder / "tuning.db"));
  }

  TEST_CASE("without NVRTC or a driver it ends with 3 and says what is missing") {
    TemporaryFolder folder;
    refused(kTune, 3, "nvrtc", with(in(folder), "NVFP4_NVRTC=/nonexistent/libnvrtc.so"));
    refused(kTune, 3, "emulator", with(in(folder), "NVFP4_EMULATOR=/nonexistent/libemulator.so"));
  }

  TEST_CASE("a database that cannot be used is refused before anything is compiled") {
    TemporaryFolder folder;
    refused(kTune, 1, folder.path().string(), {"NVFP4_DB=" + folder.path().string()});
    refused(kTune, 1, "/proc/nvfp4", {"NVFP4_DB=/proc/nvfp4/tuning.db"});
  }

  TEST_CASE("a corrupt database is set aside, not deleted, and tuning goes on") {
    TemporaryFolder folder;
    std::ofstream(folder / "tuning.db") << "this is no database, but it is somebody's file";
    const CliResult result = run_cli(kTune + "--effort quick", in(folder));
    CHECK_MESSAGE(result.code == 0, result.err);
    CHECK(contains(result.err, "corrupt"));
    CHECK(std::filesystem::exists(folder / "tuning.db.corrupt-1"));
  }

  TEST_CASE("without a home results stay in memory, with one warning") {
    const CliResult result =
        run_cli(kTune + "--effort quick",
                {"HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "NVFP4_DB", "NVFP4_CACHE"});
    CHECK_MESSAGE(result.code == 1, result.err);  // the table is right and was not saved
    CHECK(contains(result.out, "modelled"));
    CHECK(contains(result.err, "HOME"));
    CHECK(run_cli("db path", {"HOME", "XDG_DATA_HOME", "NVFP4_DB"}).code == 1);
    CHECK(run_cli("db path", {"NVFP4_DB=/x/y.db"}).out == "/x/y.db\n");
    const TemporaryFolder folder;
    const std::string database = folder / "h100.db";
    const std::string build =
        "db build " NVFP4_SOURCE_DIR "/tuning_db/gpus/h100-sxm5.csv " + database;
    CHECK(run_cli(build).code == 0);
    CHECK(run_cli(build).code == 1);  // it exists
    CHECK(run_cli(build + " --force").code == 0);
    CHECK(run_cli("db export --db " + database).out.starts_with("# NVFP4 winners, version 1\n"));
    CHECK(run_cli("db export --db " + database + ".none").code == 1);
  }

  TEST_CASE("a rival that a run which went on adds does not unsettle the winner that it lost to") {
    const TemporaryFolder folder;
    const std::string fast = "--config family=mma,act=bf16,block_n=16,block_m=8,pdl=1 ";
    const std::string slow = "--config family=mma,act=bf16,block_n=32,pdl=1 ";
    const std::string tune = "--device emulated:h100 --shape 64,128 --M 16 --format json ";
    CHECK(run_cli(tune + fast, in(folder)).code == 0);
    CHECK(run_cli(tune + fast + slow, in(folder)).code == 0);
    const CliResult again = run_cli(tune + fast + slow, in(folder));
    CHECK_MESSAGE(again.code == 0, again.err);
    const Json document = Json::parse(again.out);
    REQUIRE(document["rows"].size() == 2);
    for (const Json& row : document["rows"]) {
      CHECK(row["answer"] == "database");
      CHECK(contains(row["config"], "block_n=16,"));
    }
  }

  TEST_CASE("a full disk under standard output is a failure") {
    CHECK(run_cli("--version", {}, "/dev/full").code == 1);
    CHECK(run_cli("--version").out.starts_with("nvfp4-tune "));
  }

  TEST_CASE("a reader that leaves, as head does, is none") {
    const TemporaryFolder folder;
    const std::string log = (folder / "log").string();
    // The reader is gone before the first byte comes.
    const std::string command = "{ sleep 0.2; " NVFP4_BINARY_DIR
                                "/nvfp4-tune --model list 2>&3; echo $? >&3; } 3>" +
                                log + " | true";
    CHECK(std::system(command.c_str()) == 0);
    std::ifstream file(log);
    std::string said;
    std::getline(file, said);
    CHECK(said == "0");
  }
}

TEST_SUITE("cli emit") {
  TEST_CASE("emit prints a self-contained source, its PTX and its resources") {
    TemporaryFolder folder;
    const std::string emit = "emit --shape 4096,4096 --M 64 --arch sm_80 ";
    const CliResult source = run_cli(emit, in(folder));
    CHECK(source.code == 0);
    CHECK(contains(source.out, "nvfp4_gemm"));
    CHECK_FALSE(contains(source.out, "#include \""));
    CHECK(contains(run_cli(emit + "--as ptx", in(folder)).out, ".target sm_80"));
    const CliResult resources = run_cli(emit + "--as resources", in(folder));
    CHECK(contains(resources.out, "registers"));
    CHECK(contains(resources.out, "code hash"));
  }
}
