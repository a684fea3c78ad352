// SPDX-License-Identifier: Apache-2.0
// Samples of the space, statistics over picks, the file that a later run goes on from, and the
// command on the emulated device.
#include "tuner/regret.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "generator/candidate_space.h"
#include "generator/config_text.h"
#include "tests/cli_process.h"
#include "tuner/sweep.h"
#include "tuner/table.h"

using namespace nvfp4;
using Json = nlohmann::json;

namespace {

RegretResults results() {
  RegretResults all{.card = "card",
                    .driver = "580",
                    .nvrtc = "13.0",
                    .commit = "abc",
                    .act = "bf16",
                    .policy = "graph",
                    .effort = "quick",
                    .seed = 3,
                    .sweep = 400,
                    .modelled = false,
                    .processes = 4};
  all.cells.push_back({.target = {.shape = {64, 128}, .m = 8},
                       .picks = {{"a", 1}, {"b", 2}, {"a", 3}, {"a", 9}},
                       .swept = 390,
                       .best = "c",
                       .us = {{"a", 10.1}, {"b", 10.4}, {"c", 10}},
                       .ratio = {{"a", 1.01}, {"b", 1.04}, {"c", 1}}});
  return all;
}

std::vector<std::string> texts(const std::vector<KernelConfig>& configs) {
  std::vector<std::string> all;
  for (const KernelConfig& config : configs) all.push_back(config_text(config));
  return all;
}

}  // namespace

TEST_SUITE("sweep") {
  const Device& h100 = find_part("h100")->device;
  const auto space = candidates({.n = 5376, .k = 21504, .arch = h100.arch}, 8, h100);
  const std::span<const KernelConfig> all{space.data(), space.size()};

  TEST_CASE("a sample has each config once, and the seed decides which") {
    const auto sample = texts(stratified_sample(all, 100, 1));
    CHECK(sample.size() == 100);
    CHECK(std::set<std::string>(sample.begin(), sample.end()).size() == 100);
    CHECK(texts(stratified_sample(all, 100, 1)) == sample);
    CHECK(texts(stratified_sample(all, 100, 2)) != sample);
    CHECK(stratified_sample(all, space.size() + 10, 1).size() == space.size());
  }

  TEST_CASE("every kind is present, the one that the model likes least too") {
    std::set<std::pair<Family, Schedule>> kinds;
    std::set<std::pair<Family, Schedule>> sampled;
    for (const KernelConfig& config : all) kinds.emplace(config.family, config.schedule);
    for (const KernelConfig& config : stratified_sample(all, 200, 1)) {
      sampled.emplace(config.family, config.schedule);
    }
    CHECK(kinds.size() >= 4);
    CHECK(sampled == kinds);
  }
}

TEST_SUITE("regret") {
  TEST_CASE("shares of values are interpolated") {
    CHECK(share_of({}, 0.5) == 0);
    CHECK(share_of({7}, 0.95) == 7);
    CHECK(share_of({3, 1, 2}, 0.5) == 2);
    CHECK(share_of({0, 10}, 0.95) == doctest::Approx(9.5));
  }

  TEST_CASE("regret, flips and seconds are those of all picks") {
    const Table table = regret_table(results());
    CHECK(table.facts["regret_median"] == doctest::Approx(0.01));
    CHECK(table.facts["regret_worst"] == doctest::Approx(0.04));
    CHECK(table.facts["flip_rate"] == doctest::Approx(0.25));
    CHECK(table.facts["seconds_worst"] == 9);
    CHECK(table.facts["provenance"] == "measured");
    REQUIRE(table.rows.size() == 1);
    CHECK(table.rows[0]["same_pick"] == "3/4");
    CHECK(table.rows[0]["pick"] == "a");
    CHECK(table.rows[0]["best"] == "c");
    CHECK(table.rows[0]["pick_us"] == 10.1);
    CHECK(table.rows[0]["best_us"] == 10);
  }

  TEST_CASE("what was not judged has no regret, instead of none at all") {
    RegretResults none = results();
    none.cells[0].ratio.clear();
    none.cells[0].us.clear();
    const Table table = regret_table(none);
    CHECK(table.facts["judged"] == 0);
    CHECK(table.rows[0]["regret_worst"].is_null());
    CHECK(table.rows[0]["best_us"].is_null());
  }

  TEST_CASE("picks and sweeps come back from the file; other text is refused") {
    const RegretResults sent = results();
    const std::string text = regret_text(sent);
    const std::optional<RegretResults> got = parse_regret(text);
    REQUIRE(got.has_value());
    CHECK(same_question(*got, sent));
    CHECK(got->processes == 4);
    CHECK(got->cells[0].best == "c");
    CHECK(got->cells[0].swept == 390);
    CHECK(got->cells[0].picks[3].config == "a");
    CHECK(got->cells[0].picks[3].seconds == 9);
    for (const char* bad : {"", "{}", "[1]", "{\"kind\": 7}", "nonsense"}) {
      CHECK_FALSE(parse_regret(bad).has_value());
    }
    std::string fewer = text;
    fewer.replace(fewer.find("\"processes\": 4"), 14, "\"processes\": 5");
    CHECK_FALSE(parse_regret(fewer).has_value());
  }

  TEST_CASE("another seed, card or cell is another question") {
    const RegretResults one = results();
    RegretResults other = one;
    other.seed = 4;
    CHECK_FALSE(same_question(one, other));
    other = one;
    other.cells[0].target.m = 9;
    CHECK_FALSE(same_question(one, other));
    other = one;
    other.cells.pop_back();
    CHECK_FALSE(same_question(one, other));
  }
}

TEST_SUITE("regret command") {
  TEST_CASE("picks of fresh processes are held against a sweep, and slices add up") {
    const TemporaryFolder folder;
    const std::string file = (folder / "regret.json").string();
    const std::vector<std::string> variables = {"NVFP4_DB=" + (folder / "db").string(),
                                                "NVFP4_CACHE=" NVFP4_BINARY_DIR
                                                "/tests/regret_cache"};
    const std::string ask =
        "regret --device emulated:h100 --shape 64,64 --M 1,8 --sweep 3 "
        "--format json --save " +
        file + " --processes ";
    const CliResult first = run_cli(ask + "1", variables);
    REQUIRE_MESSAGE(first.code == 0, first.err);
    CHECK(first.err.find("modelled") != std::string::npos);
    const CliResult second = run_cli(ask + "2", variables);
    REQUIRE_MESSAGE(second.code == 0, second.err);
    CHECK(second.err.find("going on from 1 processes and 2 sweeps") != std::string::npos);
    const Json document = Json::parse(second.out);
    CHECK(document["processes"] == 2);
    CHECK(document["provenance"] == "modelled");
    CHECK(document["flip_rate"] == 0.0);
    REQUIRE(document["rows"].size() == 2);
    for (const Json& row : document["rows"]) {
      CHECK(row["same_pick"] == "2/2");
      CHECK(row["swept"] >= 3);
      CHECK(row["regret_worst"] >= 0.0);
      CHECK(row["provenance"] == "modelled");
    }
    // The file of one question does not answer another, nor is it lost to it.
    const std::string other = ask + "1 --seed 2 --budget 1ms";
    const CliResult refused = run_cli(other, variables);
    CHECK(refused.code == 2);
    CHECK(refused.err.find("answers another question: --force replaces it") != std::string::npos);
    CHECK(run_cli(other + " --force", variables).code == 1);  // begun, and not complete
  }

  TEST_CASE("a budget that is over leaves what there is, and says that it is not all") {
    const TemporaryFolder folder;
    const CliResult cut = run_cli("regret --device emulated:h100 --shape 64,64 --M 8 --budget 1ms",
                                  {"NVFP4_DB=" + (folder / "db").string()});
    CHECK(cut.code == 1);
    CHECK(cut.err.find("not complete") != std::string::npos);
  }

  TEST_CASE("what makes no question is refused") {
    CHECK(run_cli("regret --M 8").code == 2);
    CHECK(run_cli("regret --shape 64,64").code == 2);
    CHECK(run_cli("regret --shape 64,64 --M 8 --sweep -1").code == 2);
    CHECK(run_cli("regret --shape 64,64 --M 8 --baseline cublas").code == 2);
    CHECK(run_cli("lookup --shape 64,64 --M 8 --sweep 3").code == 2);
  }
}
