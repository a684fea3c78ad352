// SPDX-License-Identifier: Apache-2.0
// The real program, killed at random moments of a tuning run, and many of it at once on one
// database and one cold cache. NVFP4_TEST_KILLS is the number of kills (20), NVFP4_TEST_SEED of
// when.
#include <doctest/doctest.h>

#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <thread>
#include <tuple>

#include "generator/config_text.h"
#include "runtime/compiler.h"
#include "runtime/gpu.h"
#include "tests/cli_process.h"
#include "tuning_db/tuning_db.h"

using namespace nvfp4;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

namespace {

const std::string kTune = "--device emulated:h100 --shape 64,64 --M 1,8 --jobs 2 --format json";

std::vector<std::string> in(const TemporaryFolder& folder, const std::string& cache) {
  return {"NVFP4_DB=" + (folder / "tuning.db").string(), "NVFP4_CACHE=" + cache};
}

int number(const char* variable, int otherwise) {
  const char* text = std::getenv(variable);
  return text ? std::atoi(text) : otherwise;
}

// What was chosen, by M and policy.
using Winners = std::map<std::pair<int, std::string>, std::string>;
Winners winners(const CliResult& result) {
  REQUIRE_MESSAGE(result.code == 0, result.err);
  Winners chosen;
  const Json document = Json::parse(result.out);
  for (const Json& row : document["rows"]) chosen[{row["m"], row["policy"]}] = row["config"];

  return chosen;
}

// What a database may never show: a bad row, two candidates in flight, an outcome recorded twice.
// Returns the ids of its rows.
std::set<int64_t> check_database(const TemporaryFolder& folder) {
  const std::string path = (folder / "tuning.db").string();
  if (!std::filesystem::exists(path)) return {};  // killed before it was made
  // A journal of the dead writer is rolled back by whoever writes next.
  TuningDb database(path, Access::read_write);
  std::set<int64_t> ids;
  std::set<std::tuple<std::string, int64_t, Policy>> outcomes;
  for (const Measurement& row : database.measurements()) {
    ids.insert(row.id);
    CHECK(outcomes.emplace(config_text(row.kernel.config), row.m, row.policy).second);
  }
  CHECK(static_cast<int64_t>(ids.size()) == database.counts().measurements);
  const Device device = open_device("emulated:h100").gpu.facts();
  const Problem problem{.n = 64, .k = 64, .arch = device.arch};
  CHECK(database.suspects(key_of(device), problem).size() <= 1);
  for (const std::string& warning : database.warnings()) FAIL_CHECK(warning);
  return ids;
}

std::vector<std::string> lines(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<std::string> all;
  for (std::string line; std::getline(file, line);) all.push_back(line);
  return all;
}

}  // namespace

TEST_SUITE("kill") {
  TEST_CASE("a run that was killed at any moment goes on to the same winners") {
    const int kills = number("NVFP4_TEST_KILLS", 20);
    const auto seed = static_cast<unsigned>(number("NVFP4_TEST_SEED", 1));
    std::mt19937 random(seed);
    CAPTURE(seed);
    const TemporaryFolder undisturbed;
    const std::string warm = (undisturbed / "cache").string();
    const auto timed = [&](const std::string& cache) {
      const TemporaryFolder folder;
      const Clock::time_point begin = Clock::now();
      winners(run_cli(kTune, in(folder, cache)));
      return Clock::now() - begin;
    };
    Clock::duration cold_time = timed(warm);
    Clock::duration warm_time = timed(warm);
    const Winners expected = winners(run_cli(kTune, in(undisturbed, warm)));
    REQUIRE(expected.size() == 4);

    int interrupted = 0;
    for (int attempt = 0; interrupted < kills && attempt < 5 * kills; ++attempt) {
      CAPTURE(attempt);
      const TemporaryFolder folder;
      // Now and then the kernels have to be compiled, too.
      const bool cold = attempt % 4 == 0;
      const std::string cache = cold ? (folder / "cache").string() : warm;
      Clock::duration& time = cold ? cold_time : warm_time;
      const double share = std::uniform_real_distribution<>(0, 1)(random);
      CliProcess run(kTune, in(folder, cache));
      std::this_thread::sleep_for(time * share);
      run.signal(SIGKILL);
      // A run that ended before proves nothing: this machine is faster than it was.
      const bool killed = run.wait().code == 128 + SIGKILL;
      interrupted += killed;
      if (!killed) time = time * 8 / 10;
      const std::set<int64_t> before = check_database(folder);
      CHECK(winners(run_cli(kTune, in(folder, cache))) == expected);
      const std::set<int64_t> after = check_database(folder);
      CHECK(std::includes(after.begin(), after.end(), before.begin(), before.end()));
    }
    CHECK(interrupted == kills);
  }

  TEST_CASE("sixteen at once on one database and one cold cache: each kernel is compiled once") {
    const TemporaryFolder folder;
    const std::string log = (folder / "compiled").string();
    std::vector<std::string> variables = in(folder, (folder / "cache").string());
    variables.push_back("NVFP4_NVRTC=" COUNTING_NVRTC);
    variables.push_back("COUNTING_NVRTC_REAL=" + Compiler::open().path());
    variables.push_back("COUNTING_NVRTC_LOG=" + log);
    std::vector<std::unique_ptr<CliProcess>> all;
    // Ms so far apart that they share no candidate.
    const std::string tune = "--device emulated:h100 --shape 64,64 --M 1,64 --jobs 2 --format json";
    for (int i = 0; i < 16; ++i) all.push_back(std::make_unique<CliProcess>(tune, variables));
    Winners first;
    for (const auto& process : all) {
      const CliResult result = process->wait();
      const Winners chosen = winners(result);
      if (first.empty()) first = chosen;
      CHECK(chosen.size() == 4);
      CHECK(chosen == first);
    }
    const std::vector<std::string> compiled = lines(log);
    const std::set<std::string> distinct(compiled.begin(), compiled.end());
    CHECK(compiled.size() == distinct.size());
    CHECK(compiled.size() >= 6);  // at least three candidates for each M
    TuningDb database((folder / "tuning.db").string(), Access::read_only);
    CHECK(static_cast<int64_t>(database.measurements().size()) == database.counts().measurements);
    CHECK(database.warnings().empty());
    CHECK(database.counts().runs >= 1);
  }
}
