// SPDX-License-Identifier: Apache-2.0
// nvfp4-tune bench as a user runs it, on the emulated device: what it prints, the files it leaves,
// slices that are put together, Ctrl-C, and what it refuses.
#include "tuner/suite_command.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "tests/cli_process.h"
#include "tests/suite_fixture.h"
#include "tests/xml.h"
#include "tuner/suite_document.h"

using namespace nvfp4;
using Json = nlohmann::json;

namespace {

const std::string kBench = "bench --device emulated:h100 --shape 64,128 ";

// All cases share compiled kernels; each has a database of its own.
CliResult run(const TemporaryFolder& folder, const std::string& arguments,
              const std::string& variable = "TERM=dumb") {
  return run_cli(arguments, {"NVFP4_DB=" + (folder / "tuning.db").string(),
                             "NVFP4_CACHE=" NVFP4_BINARY_DIR "/tests/suite_cache", variable});
}

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string path(const TemporaryFolder& folder, const std::string& name) {
  return (folder / name).string();
}

void save(const std::string& path, const SuiteResults& results) {
  std::ofstream(path) << suite_text(results);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// One line on standard error that names what is wrong, nothing on standard output.
void refused(const CliResult& result, int code, const std::string& words) {
  CHECK_MESSAGE(result.code == code, result.err);
  CHECK(result.out.empty());
  CHECK_MESSAGE(contains(result.err, words), result.err);
}

}  // namespace

TEST_SUITE("bench") {
  TEST_CASE("the README's picture is drawn from the published results") {
    const TemporaryFolder folder;
    const std::string published = NVFP4_SOURCE_DIR "/tuning_db/bench/h100-sxm5";
    const std::string drawn = path(folder, "h100.svg");
    CHECK(run(folder, "bench --from " + published + ".json --plot " + drawn).code == 0);
    CHECK(contents(drawn) == contents(published + ".svg"));
  }

  TEST_CASE("the published runs of two cards make a history that is judged") {
    const TemporaryFolder folder;
    const std::string database = path(folder, "history.db");
    const std::string script = "NVFP4_TUNE=" NVFP4_BINARY_DIR "/nvfp4-tune " NVFP4_SOURCE_DIR
                               "/examples/history.sh " +
                               database + " 2> " + path(folder, "said.txt");
    REQUIRE(std::system(script.c_str()) == 0);
    const std::string said = contents(path(folder, "said.txt"));
    CHECK(contains(said, "recorded as run 11 of "));
    // Another program, the same kernels: what the clock says then is the card's noise.
    CHECK(contains(said, "against run 4: 74 unchanged"));
    CHECK(contains(said, "against run 5: 74 unchanged"));
    CHECK(contains(said, "against run 10: 72 unchanged"));
    CHECK(run(folder, "compare latest~1 latest --fail-on-regression --db " + database).code == 0);
    CHECK(std::system(script.c_str()) != 0);  // it replaces nothing
  }

  TEST_CASE("a suite is shown, kept and drawn, and everything in it is modelled") {
    TemporaryFolder folder;
    const std::string saved = path(folder, "a.json");
    const std::string drawn = path(folder, "a.svg");
    const CliResult result =
        run(folder, kBench + "--M 1,8 --baseline cublas --save " + saved + " --plot " + drawn);
    REQUIRE_MESSAGE(result.code == 0, result.err);
    CHECK(contains(result.out, "times are modelled"));
    CHECK(contains(result.err, "cuBLASLt unavailable: it needs a real GPU"));
    const Json document = Json::parse(contents(saved));
    CHECK(document["card"].get<std::string>().ends_with("(emulated)"));
    CHECK(document["driver"] == "emulator");
    CHECK(document["provenance"] == "modelled");
    CHECK(document["end"] == "complete");
    REQUIRE(document["rows"].size() == 2);
    for (const Json& row : document["rows"]) {
      CHECK(row["provenance"] == "modelled");
      CHECK(row["us"] > 0.0);
      CHECK(row["us_no_pdl"] > row["us"]);
      CHECK(row["f"] > row["f_no_pdl"]);
      CHECK(row["us_cublas_bf16"].is_null());
    }
    CHECK(xml_fault(contents(drawn)) == "");
    CHECK(contains(contents(drawn), "modelled"));
    // The file shows what the run showed.
    const CliResult again = run(folder, "bench --from " + saved, "NVFP4_NVRTC=/nowhere");
    CHECK(again.code == 0);
    CHECK(again.out == result.out);
    CHECK_FALSE(std::filesystem::exists(folder / "tuning.db"));
  }

  TEST_CASE("every form of output is valid") {
    TemporaryFolder folder;
    const std::string saved = path(folder, "a.json");
    save(saved, suite_results());
    const std::string show = "bench --from " + saved + " --format ";
    CHECK(Json::parse(run(folder, show + "json").out)["rows"][0]["us"] == 4.0);
    CHECK(Json::parse(run(folder, show + "jsonl").out)["us"] == 4.0);
    CHECK(run(folder, show + "csv").out.starts_with("n,k,m,act,policy,us,us_no_pdl,"));
    CHECK(run(folder, show + "md").out.starts_with("|"));
  }

  TEST_CASE("slices are shown, kept and drawn as one") {
    TemporaryFolder folder;
    SuiteResults one = suite_results();
    SuiteResults two = suite_results();
    two.rows = {suite_row(64, 128, 8, 3.0), suite_row(128, 128, 8, 6.0)};
    save(path(folder, "a"), one);
    save(path(folder, "b"), two);
    const CliResult result =
        run(folder, "bench --from " + path(folder, "a") + " --from " + path(folder, "b") +
                        " --save " + path(folder, "c") + " --plot " + path(folder, "c.svg"));
    REQUIRE_MESSAGE(result.code == 0, result.err);
    const SuiteResults all = parse_suite_document(contents(path(folder, "c")));
    REQUIRE(all.rows.size() == 2);
    CHECK(all.rows[0].pdl->us == 3.0);
    CHECK(all.rows[1].n == 128);
    CHECK(contains(all.command, "--from"));
    CHECK(xml_fault(contents(path(folder, "c.svg"))) == "");
  }

  TEST_CASE("slices of different cards are refused in one line that names file and cards") {
    TemporaryFolder folder;
    SuiteResults other = suite_results();
    other.card = "NVIDIA A100";
    save(path(folder, "a"), suite_results());
    save(path(folder, "b"), other);
    const CliResult result =
        run(folder, "bench --from " + path(folder, "a") + " --from " + path(folder, "b"));
    refused(result, 2, "its card is 'NVIDIA A100', not 'NVIDIA H100 80GB HBM3'");
    CHECK(contains(result.err, path(folder, "b")));
  }

  TEST_CASE("a file that is not there, or is no such file, is refused by name") {
    TemporaryFolder folder;
    refused(run(folder, "bench --from " + path(folder, "none")), 1, "No such file");
    std::ofstream(folder / "half") << suite_text(suite_results()).substr(0, 300);
    refused(run(folder, "bench --from " + path(folder, "half")), 2, "half' is no file of bench");
    refused(run(folder, "bench --from " + folder.path().string()), 1, "no regular file");
  }

  TEST_CASE("a file that cannot be written is refused before anything is measured") {
    TemporaryFolder folder;
    std::filesystem::create_directory(folder / "sub");
    for (const std::string option : {"--save", "--plot"}) {
      for (const std::string name : {"no/such/file", "sub", "sub/"}) {
        const CliResult result = run(folder, kBench + option + " " + path(folder, name));
        refused(result, 1, "cannot write");
        CHECK_FALSE(contains(result.err, "using"));  // not even a GPU was opened
      }
    }
    CHECK(std::filesystem::is_empty(folder / "sub"));
  }

  TEST_CASE("Ctrl-C keeps the rows, and the same command goes on from them") {
    TemporaryFolder folder;
    const std::string saved = path(folder, "a.json");
    const std::vector<std::string> variables = {"NVFP4_DB=" + path(folder, "tuning.db"),
                                                "NVFP4_CACHE=" NVFP4_BINARY_DIR
                                                "/tests/suite_cache"};
    // Rows of well under a second, so many of them that the last is never reached before the
    // signal.
    const std::string command = kBench + "--M 1:64 --save " + saved;
    CliProcess process(command, variables);
    for (int i = 0; i < 300 && contents(saved).empty(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    process.signal(SIGINT);
    const CliResult first = process.wait();
    CHECK(first.code == 130);
    CHECK(contains(first.err, "the same command goes on from there"));
    CHECK(contains(first.out, "the run was interrupted"));
    const SuiteResults kept = parse_suite_document(contents(saved));
    CHECK_FALSE(kept.complete);
    REQUIRE_FALSE(kept.rows.empty());

    CliProcess next(command, variables);
    for (int i = 0; i < 300; ++i) {
      if (parse_suite_document(contents(saved)).rows.size() > kept.rows.size()) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    next.signal(SIGTERM);
    const CliResult second = next.wait();
    CHECK(second.code == 130);
    CHECK(contains(second.err, "going on from"));
    CHECK(parse_suite_document(contents(saved)).rows.size() > kept.rows.size());
  }

  TEST_CASE("a finished run is replaced by the same command, another command's only by force") {
    TemporaryFolder folder;
    const std::string saved = path(folder, "a.json");
    for (int i = 0; i < 2; ++i) {
      const CliResult result = run(folder, kBench + "--M 8 --save " + saved);
      CHECK(result.code == 0);
      CHECK_FALSE(contains(result.err, "going on"));
    }
    const std::string other = kBench + "--M 1 --save " + saved;
    const CliResult result = run(folder, other);
    refused(result, 2, "holds 1 rows of another command (nvfp4-tune " + kBench + "--M 8");
    CHECK_FALSE(contains(result.err, "using"));  // not even a GPU was opened
    CHECK(run(folder, other + " --force").code == 0);
    std::ofstream(folder / "mine") << "a text";
    refused(run(folder, kBench + "--M 1 --save " + path(folder, "mine")), 2,
            "mine' is no file of bench: --force replaces it");
    CHECK(contents(path(folder, "mine")) == "a text");
    const SuiteResults results = parse_suite_document(contents(saved));
    REQUIRE(results.rows.size() == 1);
    CHECK(results.rows[0].m == 1);
  }

  TEST_CASE("a kernel that fails is told and ends with 1, the rest is still shown") {
    TemporaryFolder folder;
    const CliResult result = run(folder, kBench + "--M 8", "NVFP4_EMULATOR_FAULTS=kernel:4+=700");
    CHECK(result.code == 1);
    CHECK(contains(result.out, "N=64 K=128 M=8 graph fault"));
    CHECK(contains(result.err, "not every kernel came to a time"));
  }

  TEST_CASE("results that cannot be kept are still shown") {
    TemporaryFolder folder;
    const CliResult result = run(folder, kBench + "--M 8 --save /dev/full");
    CHECK(result.code == 1);
    CHECK(contains(result.err, "cannot write /dev/full"));
    CHECK(contains(result.out, "times are modelled"));
  }

  TEST_CASE("an argument that is no UTF-8 does not spoil the file") {
    TemporaryFolder folder;
    const std::string saved = path(folder, "a\xff.json");
    CHECK(run(folder, kBench + "--M 8 --save " + saved).code == 0);
    CHECK(parse_suite_document(contents(saved)).rows.size() == 1);
  }
}
