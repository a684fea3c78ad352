// SPDX-License-Identifier: Apache-2.0
// nvfp4-tune compare and bench --record as a user runs them: what may be named, what is refused,
// and the exit codes. No GPU is needed.
#include "tuner/compare_command.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/cli_process.h"
#include "tests/suite_fixture.h"
#include "tests/tuning_db_fixture.h"
#include "tuner/suite_document.h"

using namespace nvfp4;
using Json = nlohmann::json;

namespace {

struct Fixture {
  TemporaryFolder folder;
  std::string db = path("history.db");

  std::string path(const std::string& name) const { return (folder / name).string(); }

  CliResult run(const std::string& arguments) const {
    return run_cli(arguments, {"NVFP4_DB=" + db, "TERM=dumb", "NVFP4_NVRTC=/nowhere"});
  }

  // A recorded run of one kernel of the H100.
  void record(double us, const std::string& code) const {
    TuningDb database(db, Access::read_write);
    RunRecord run = run_on(h100());
    run.purpose = Purpose::bench;
    Measurement row = measurement_of(config_of(16), 64, us);
    row.kernel.code_hash = code;
    row.samples_us.clear();
    for (int i = 0; i < 15; ++i) {
      row.samples_us.push_back(static_cast<float>(us * (1 + 1e-4 * (i - 7))));
    }
    row.timing.q1_us = us * (1 - 4e-4);
    row.timing.q3_us = us * (1 + 4e-4);
    row.timing.samples = 15;
    database.add(database.add_run(run), row);
  }

  std::string save(const std::string& name, const SuiteResults& results) const {
    std::ofstream(path(name)) << suite_text(results);
    return path(name);
  }
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void refused(const CliResult& result, const std::string& words) {
  CHECK_MESSAGE(result.code == 2, result.err);
  CHECK(result.out.empty());
  CHECK_MESSAGE(contains(result.err, words), result.err);
}

}  // namespace

TEST_SUITE("compare command") {
  TEST_CASE("runs are named by number, from the latest, or with their database") {
    const Fixture f;
    f.record(20, "a");
    f.record(20, "a");
    f.record(22, "b");
    for (const std::string& sides : {std::string("2 3"), std::string("latest~1 latest"),
                                     "latest~1 " + f.db + "@3", f.db + "@1 " + f.db + "@latest"}) {
      const CliResult result = f.run("compare " + sides + " --fail-on-regression --format json");
      CHECK_MESSAGE(result.code == 5, result.err);
      CHECK(Json::parse(result.out)["best_config"]["rows"][0]["verdict"] == "slower");
      CHECK(f.run("compare " + sides).code == 0);
    }
    CHECK(f.run("compare 1 2 --fail-on-regression").code == 0);
    CHECK(f.run("compare 3 2 --fail-on-regression").code == 0);  // faster
    // The comparison of two runs of one database stays in it.
    TuningDb database(f.db, Access::read_only);
    CHECK(database.comparisons().size() == 2 * 4);
  }

  TEST_CASE("whole databases and saved suites are sides too") {
    const Fixture f;
    f.record(20, "a");
    CHECK(f.run("compare " + f.db + " " + f.db).code == 0);
    SuiteResults slow = suite_results();
    slow.rows = {suite_row(64, 128, 8, 8.0)};
    const std::string a = f.save("a.json", suite_results());
    const std::string b = f.save("b.json", slow);
    const CliResult result = f.run("compare " + a + " " + b + " --format md");
    CHECK(result.code == 0);
    // Files of before hold no samples: that much cannot be said.
    CHECK_MESSAGE(contains(result.out, "few-samples: 100.0 % slower, of 0 and 0 samples"),
                  result.out);
  }

  TEST_CASE("a comparison of nothing does not pass for one without regressions") {
    const Fixture f;
    f.record(20, "a");
    const CliResult result =
        f.run("compare " + f.save("a.json", suite_results()) + " latest --fail-on-regression");
    CHECK(result.code == 1);
    CHECK(contains(result.err, "nothing was compared"));
  }

  TEST_CASE("what names nothing is refused by its name") {
    const Fixture f;
    f.record(20, "a");
    refused(f.run("compare latest"), "2");
    refused(f.run("compare latest~1 latest"), "has no 2 runs of one card");
    refused(f.run("compare 7 latest"), "has no run 7");
    refused(f.run("compare latest~x latest"), "'latest~x' is no file, and no run");
    refused(f.run("compare nowhere.db latest"), "'nowhere.db' is no file");
    std::ofstream(f.path("text")) << "hello";
    refused(f.run("compare " + f.path("text") + " latest"),
            "is neither a database nor a file of bench --save");
    CHECK(f.run("compare " + f.path("none.db") + "@1 latest").code == 1);
    refused(f.run("compare latest latest --baseline cublas"), "--baseline does not apply");
  }
}

TEST_SUITE("bench --record") {
  TEST_CASE("a saved suite is recorded once, without a GPU") {
    const Fixture f;
    const std::string saved = f.save("a.json", suite_results());
    const CliResult first = f.run("bench --from " + saved + " --record");
    CHECK_MESSAGE(first.code == 0, first.err);
    CHECK(contains(first.err, "recorded as run 1 of " + f.db));
    CHECK(contains(first.err, "the first of this card"));
    CHECK(contains(f.run("bench --from " + saved + " --record").err, "are run 1 of"));
    SuiteResults later = suite_results();
    later.date = "2026-11-28T10:00:00Z";
    const CliResult second = f.run("bench --from " + f.save("b.json", later) + " --record");
    CHECK(contains(second.err, "against run 1: 2 same"));
    CHECK(TuningDb(f.db, Access::read_only).runs().size() == 2);
    later.card = "NVIDIA Unheard-of 9000";
    const CliResult unknown = f.run("bench --from " + f.save("c.json", later) + " --record");
    refused(unknown, "cannot be recorded: it does not say what 'NVIDIA Unheard-of 9000' is");
  }

  TEST_CASE("stored winners are no suite, and a share is a percentage") {
    const Fixture f;
    refused(f.run("bench --winners --suite all"), "--suite does not go with");
    refused(f.run("bench --sample 10% --M 8"), "--M does not go with the stored winners");
    refused(f.run("bench --sample 10"), "--sample '10' is not a share");
    refused(f.run("bench --winners --device emulated:a100 --db " + f.path("none.db")),
            "no winner is stored for NVIDIA A100");
  }

  TEST_CASE("a history that cannot be written is refused before anything is measured") {
    const Fixture f;
    std::filesystem::create_directory(f.path("folder.db"));
    const CliResult result =
        f.run("bench --record --device emulated:h100 --db " + f.path("folder.db"));
    CHECK(result.code == 1);
    CHECK(result.out.empty());
  }
}
