// SPDX-License-Identifier: Apache-2.0
// A regression planted in a history on the emulated device: found, named, exit code 5; and gone
// when it is undone. By hand and as examples/nightly.sh does it.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "generator/config_text.h"
#include "tests/cli_process.h"
#include "tuning_db/tuning_db.h"

using namespace nvfp4;
using Json = nlohmann::json;

namespace {

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

struct Fixture {
  TemporaryFolder folder;
  std::string db = (folder / "history.db").string();

  CliResult run(const std::string& arguments) const {
    return run_cli(arguments,
                   {"NVFP4_DB=" + db, "NVFP4_CACHE=" NVFP4_BINARY_DIR "/tests/suite_cache",
                    "NVFP4_DEVICE=emulated:h100", "TERM=dumb"});
  }

  // Two shapes with winners.
  void tune() const {
    for (const char* shape : {"64,256", "128,64"}) {
      const CliResult tuned =
          run(fmt::format("--shape {} --M 8 --policy graph+pdl --max-candidates 2", shape));
      REQUIRE_MESSAGE(tuned.code == 0, tuned.err);
    }
  }

  void record() const {
    const CliResult recorded = run("bench --winners --record");
    REQUIRE_MESSAGE(recorded.code == 0, recorded.err);
  }

  // Makes a config whose warps do not share K the winner of 64 x 256; returns the one before.
  Winner plant() const {
    const CliResult tried =
        run("--shape 64,256 --M 8 --policy graph+pdl --config family=mma,act=bf16,warps_k=1,pdl=1");
    REQUIRE_MESSAGE(tried.code == 0, tried.err);
    TuningDb database(db, Access::read_write);
    const std::vector<Winner> winners = database.winners();
    const auto old = std::find_if(winners.begin(), winners.end(),
                                  [](const Winner& w) { return w.problem.n == 64; });
    REQUIRE(old != winners.end());
    const Measurement* slowest = nullptr;
    const std::vector<Measurement> rows = database.measurements();
    for (const Measurement& row : rows) {
      const bool ours = row.verdict == Verdict::ok && row.problem == old->problem &&
                        row.policy == old->policy && row.m == old->m_tuned;
      if (!ours) continue;
      if (slowest == nullptr || row.timing.median_us > slowest->timing.median_us) slowest = &row;
    }
    REQUIRE(slowest != nullptr);
    REQUIRE(slowest->timing.median_us > old->expected_us * 1.01);
    Winner slow = *old;
    slow.config = slowest->kernel.config;
    slow.evidence = slowest->id;
    slow.interval = tile_interval(slow.config, slow.m_tuned);
    database.store(slow);
    return *old;
  }

  void undo(const Winner& winner) const {
    TuningDb database(db, Access::read_write);
    database.store(winner);
  }
};

Json slower_rows(const Json& question) {
  Json rows = Json::array();
  for (const Json& row : question["rows"]) {
    if (row["verdict"] == "slower") rows.push_back(row);
  }
  return rows;
}

// examples/nightly.sh; the exit code.
int nightly(const Fixture& f, const std::string& options) {
  const std::string command = fmt::format(
      "NVFP4_TUNE={}/nvfp4-tune NVFP4_CACHE={}/tests/suite_cache NVFP4_DEVICE=emulated:h100 "
      "sh {}/examples/nightly.sh {} {} {} 2>> {}",
      NVFP4_BINARY_DIR, NVFP4_BINARY_DIR, NVFP4_SOURCE_DIR, f.db,
      (f.folder / "summary.md").string(), options, (f.folder / "log").string());
  const int status = std::system(command.c_str());
  return WEXITSTATUS(status);
}

}  // namespace

TEST_SUITE("a planted regression") {
  TEST_CASE("it is found, named and exits 5; undone, everything is unchanged") {
    const Fixture f;
    f.tune();
    f.record();
    f.record();
    const CliResult quiet = f.run("compare latest~1 latest --fail-on-regression --format json");
    REQUIRE_MESSAGE(quiet.code == 0, quiet.err);
    const Json before = Json::parse(quiet.out);
    CHECK(before["best_config"]["counts"]["unchanged"] == 4);
    CHECK(before["best_config"]["compared"] == 4);
    CHECK(before["modelled"] == true);

    const Winner fast = f.plant();
    f.record();
    const CliResult found = f.run("compare latest~1 latest --fail-on-regression --format json");
    CHECK(found.code == 5);
    CHECK_MESSAGE(contains(found.err, "regression: "), found.err);
    const Json document = Json::parse(found.out);
    CHECK(document["regressed"] == true);
    const Json slower = slower_rows(document["best_config"]);
    REQUIRE(!slower.empty());
    for (const Json& row : slower) {
      CHECK(row["n"] == 64);
      CHECK(row["m"] == 8);
      CHECK(row["ratio"] > 1.01);
      CHECK(row["provenance"] == "modelled");
      CHECK(row["config"] != row["config_before"]);
      CHECK(contains(row["reason"], "another config answers"));
    }
    // No kernel got slower: the library runs another one.
    CHECK(slower_rows(document["same_config"]).empty());
    const CliResult table = f.run("compare latest~1 latest");
    CHECK(table.code == 0);
    CHECK_MESSAGE(contains(table.out, "slower"), table.out);
    CHECK(contains(table.out, "Times are modelled"));

    f.undo(fast);
    f.record();
    const CliResult undone = f.run("compare latest~2 latest --fail-on-regression --format json");
    CHECK(undone.code == 0);
    CHECK(Json::parse(undone.out)["best_config"]["counts"]["unchanged"] == 4);
    CHECK(Json::parse(f.run("compare latest~1 latest --format json")
                          .out)["best_config"]["counts"]["faster"] == slower.size());
    // What each recording found is stored.
    TuningDb database(f.db, Access::read_only);
    const std::vector<Comparison> stored = database.comparisons();
    const auto count = std::count_if(stored.begin(), stored.end(), [](const Comparison& c) {
      return c.question == Question::best_config && c.verdict == Change::slower;
    });
    CHECK(static_cast<size_t>(count) == slower.size());
  }

  TEST_CASE("a night finds it, says so in its summary, and the next one is quiet again") {
    const Fixture f;
    f.tune();
    CHECK(nightly(f, "") == 0);  // a sample
    CHECK(contains(contents(f.folder / "summary.md"), "times are modelled"));
    CHECK(nightly(f, "--winners") == 0);
    CHECK(nightly(f, "--winners") == 0);
    CHECK(contains(contents(f.folder / "summary.md"), "unchanged. Geometric mean"));
    const Winner fast = f.plant();
    CHECK(nightly(f, "--winners") == 5);
    const std::string summary = contents(f.folder / "summary.md");
    CHECK_MESSAGE(contains(summary, "| slower"), summary);
    CHECK(contains(summary, "## All of the run"));
    f.undo(fast);
    CHECK(nightly(f, "--winners") == 0);
    // Options that bench refuses end the night with its code, and leave the summary as it is.
    const std::string last = contents(f.folder / "summary.md");
    CHECK(nightly(f, "--suite nonsense") == 2);
    CHECK(contents(f.folder / "summary.md") == last);
    CHECK_FALSE(std::filesystem::exists(f.folder / "summary.md.part"));
  }
}
