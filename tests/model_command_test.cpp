// SPDX-License-Identifier: Apache-2.0
// A whole model on the emulated device, as a user tunes it: the plan, the run, what a second run
// does, what a killed one loses, and shards.
#include "tuner/model_command.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>

#include "tests/cli_process.h"
#include "tuning_db/tuning_db.h"

using namespace nvfp4;
using Json = nlohmann::json;

namespace {

// Two layers; at tp 1 and 2 together six shapes: two are in both.
constexpr char kModel[] =
    R"({"hidden_size":64,"intermediate_size":256,"num_attention_heads":4,"head_dim":32,)"
    R"("num_key_value_heads":2,"num_hidden_layers":2,"vocab_size":256,)"
    R"("quantization_config":{"quant_method":"modelopt","quant_algo":"NVFP4","ignore":["lm_head"]}})";

struct Model {
  TemporaryFolder folder;
  std::string options;

  Model() {
    std::ofstream(folder / "config.json") << kModel;
    options = "--device emulated:h100 --effort quick --format json --M 1,16 --tp 1,2 --model " +
              folder.path().string() + " ";
  }
  std::vector<std::string> variables(const std::string& name = "tuning.db") const {
    return {"NVFP4_DB=" + (folder / name).string(),
            "NVFP4_CACHE=" NVFP4_BINARY_DIR "/tests/model_cache"};
  }
  CliResult run(const std::string& more = "", const std::string& name = "tuning.db") const {
    return run_cli(options + more, variables(name));
  }
};

// All of them are tried, in whatever order: a candidate that was in flight when its tuner was
// killed is tried last by the next one.
constexpr char kConfigs[] =
    "--config family=mma,act=bf16,block_n=16,block_m=8,warps_k=16,num_stages=8,pdl=1 "
    "--config family=mma,act=bf16,block_n=32,pdl=1 ";

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// What was chosen, without who found it when.
std::set<std::string> choices(const Json& document) {
  std::set<std::string> texts;
  for (Json row : document["rows"]) {
    row.erase("answer");
    texts.insert(row.dump());
  }
  return texts;
}

}  // namespace

TEST_SUITE("model_command") {
  TEST_CASE("a plan says what there is to do and leaves nothing behind") {
    const Model model;
    const CliResult result = model.run("--plan");
    REQUIRE_MESSAGE(result.code == 0, result.err);
    const Json plan = Json::parse(result.out);
    CHECK(plan["schema"] == 1);
    CHECK(plan["shapes"] == 6);
    CHECK(plan["wanted"] == 6 * 4);  // two Ms, two policies
    CHECK(plan["known"] == 0);
    CHECK(plan["seconds"] > 0.0);
    CHECK(plan["rows"][0]["launches"] >= plan["rows"][5]["launches"]);
    CHECK_FALSE(std::filesystem::exists(model.folder / "tuning.db"));
    const CliResult table =
        run_cli("--model " + model.folder.path().string() +
                    " --tp 1,2 --plan --device emulated:h100 --db /nowhere/x.db",
                model.variables());
    CHECK(table.code == 0);
    CHECK(contains(table.out, "6 of 6 shapes, 13 values of M, 1 to 4096, 156 winners"));
  }

  TEST_CASE("a model is tuned, its steps are summed up, and a second run has nothing to do") {
    const Model model;
    const CliResult first = model.run();
    REQUIRE_MESSAGE(first.code == 0, first.err);
    CHECK(contains(first.err, "6 of 6 shapes, 2 values of M, 1 to 16, 24 winners of which 0"));
    const Json tuned = Json::parse(first.out);
    CHECK(tuned["rows"].size() == 24);
    for (const Json& row : tuned["rows"]) {
      CHECK(row["answer"] == "this run");
      CHECK(row["provenance"] == "modelled");
    }
    REQUIRE(tuned["steps"].size() == 8);  // tp, M and policy
    for (const Json& step : tuned["steps"]) {
      double us = 0;
      for (const Json& row : tuned["rows"]) {
        const bool used = contains("," + row["tp"].get<std::string>() + ",",
                                   "," + std::to_string(step["tp"].get<int>()) + ",");
        if (!used || row["m"] != step["m"] || row["policy"] != step["policy"]) continue;
        // Each layer of this model runs twice, under each degree that has it.
        us += 2 * row["us"].get<double>();
      }
      CHECK(step["us"].get<double>() == doctest::Approx(us));
    }

    const auto begin = std::chrono::steady_clock::now();
    const CliResult second = model.run();
    CHECK(second.code == 0);
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
    const Json again = Json::parse(second.out);
    CHECK(choices(again) == choices(tuned));
    for (const Json& row : again["rows"]) CHECK(row["answer"] == "database");
    const Json plan = Json::parse(model.run("--plan").out);
    CHECK(plan["known"] == 24);
    CHECK(plan["seconds"] == 0.0);
  }

  TEST_CASE("several models are one plan, and have each a step of their own") {
    const Model model;
    std::string config = kModel;
    // One layer more: the same shapes, other sums.
    const size_t layers = config.find("\"num_hidden_layers\":") + 20;
    ++config[layers];
    std::ofstream(model.folder / "more.json") << config;
    const std::string more = (model.folder / "more.json").string();
    const CliResult plan = run_cli("--model qwen3-8b --model llama-3.1-8b --M 1 --plan --device "
                                   "emulated:h100 --db /nowhere/x.db",
                                   model.variables());
    CHECK_MESSAGE(plan.code == 0, plan.err);
    CHECK(contains(plan.out, "qwen3-8b, llama-3.1-8b  qkv_proj "));
    CHECK(contains(plan.out, "6 of 6 shapes, M = 1, 12 winners"));
    const CliResult tuned = model.run("--model " + more);
    REQUIRE_MESSAGE(tuned.code == 0, tuned.err);
    const Json document = Json::parse(tuned.out);
    CHECK(document["models"].size() == 2);
    REQUIRE(document["steps"].size() == 16);
    for (size_t i = 0; i < 8; ++i) {
      const Json& two = document["steps"][i];
      const Json& three = document["steps"][i + 8];
      CHECK(three["model"] == more);
      CHECK(three["m"] == two["m"]);
      CHECK(three["us"].get<double>() == doctest::Approx(1.5 * two["us"].get<double>()));
    }
  }

  TEST_CASE("experts are one grouped launch, with a row for each expert that a token goes to") {
    const Model model;
    std::string config = kModel;
    config.insert(1, R"("num_local_experts":4,"num_experts_per_tok":2,)");
    std::ofstream(model.folder / "config.json") << config;
    const CliResult result = model.run("--tp 1");
    CHECK(result.code == 2);  // twice
    std::string options = model.options;
    options.replace(options.find("--tp 1,2"), 8, "--tp 1");
    const CliResult tuned = run_cli(options, model.variables());
    REQUIRE_MESSAGE(tuned.code == 0, tuned.err);
    const Json document = Json::parse(tuned.out);
    CHECK(document["rows"].size() == 4 * 4);
    int grouped = 0;
    for (const Json& row : document["rows"]) {
      const bool experts = !row["experts"].is_null();
      grouped += experts;
      CHECK(row["rows"] == row["m"].get<int>() * (experts ? 2 : 1));
      CHECK(row["launches"] == 2);
    }
    CHECK(grouped == 2 * 4);
    for (const Json& step : document["steps"]) CHECK(step["us"] > 0.0);
    TuningDb database((model.folder / "tuning.db").string(), Access::read_only);
    const auto winners = database.winners();
    CHECK(std::count_if(winners.begin(), winners.end(), [](const Winner& winner) {
            return winner.problem.kind == ProblemKind::grouped && winner.problem.experts == 4;
          }) == 8);
  }

  TEST_CASE("a killed run loses nothing that it had, and ends as one that was left alone") {
    const Model model;
    const Json alone = Json::parse(model.run(kConfigs, "alone.db").out);
    for (int round = 0; round < 2; ++round) {
      const CliProcess process(model.options + kConfigs, model.variables());
      const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
      size_t rows = 0;
      while (rows < 4 + 8 * static_cast<size_t>(round) &&
             std::chrono::steady_clock::now() < give_up) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        if (!std::filesystem::exists(model.folder / "tuning.db")) continue;
        try {
          rows =
              TuningDb((model.folder / "tuning.db").string(), Access::read_only).winners().size();
        } catch (const DatabaseError&) {
          continue;  // being made
        }
      }
      process.signal(SIGKILL);
    }
    const Json before = Json::parse(model.run("--plan").out);
    CHECK(before["known"] >= 4);
    const CliResult resumed = model.run(kConfigs);
    CHECK(resumed.code == 0);
    const Json document = Json::parse(resumed.out);
    CHECK(choices(document) == choices(alone));
    const auto known = std::count_if(document["rows"].begin(), document["rows"].end(),
                                     [](const Json& row) { return row["answer"] == "database"; });
    CHECK(known >= 4);
  }

  TEST_CASE("Ctrl-C ends it between candidates, and the same command goes on") {
    const Model model;
    CliProcess process(model.options, model.variables());
    while (!std::filesystem::exists(model.folder / "tuning.db")) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    process.signal(SIGINT);
    const CliResult stopped = process.wait();
    CHECK(stopped.code == 130);
    CHECK(contains(stopped.err, "the same command goes on from there"));
    CHECK(Json::parse(stopped.out)["rows"].size() < 24);
    CHECK(model.run().code == 0);
  }

  TEST_CASE("shards are the whole set, each once, and come to the same winners") {
    const Model model;
    std::set<std::string> seen;
    std::set<std::string> together;
    for (const std::string shard : {"1/3", "2/3", "3/3"}) {
      const CliResult result = model.run("--shard " + shard, "shard" + shard.substr(0, 1) + ".db");
      REQUIRE_MESSAGE(result.code == 0, result.err);
      const Json document = Json::parse(result.out);
      CHECK(document["shard"] == shard);
      CHECK_FALSE(document.contains("steps"));
      for (const std::string& choice : choices(document)) {
        CHECK(together.insert(choice).second);
      }
    }
    CHECK(together == choices(Json::parse(model.run().out)));
  }

  TEST_CASE("two devices share the shapes, and come to the same winners as one") {
    const Model model;
    const std::string two = "--device emulated:h100,emulated:h100 ";
    std::string options = model.options;
    options.replace(0, options.find("--effort"), two);
    const CliResult both = run_cli(options + kConfigs, model.variables("two.db"));
    REQUIRE_MESSAGE(both.code == 0, both.err);
    CHECK(contains(both.err, "shapes 0/6, emulated:h100: "));
    CHECK(contains(both.err, " on 2 devices, an estimate"));
    const Json document = Json::parse(both.out);
    CHECK(choices(document) == choices(Json::parse(model.run(kConfigs).out)));
    // The parent itself had nothing to measure.
    for (const Json& row : document["rows"]) CHECK(row["answer"] == "database");

    CliProcess process(options + kConfigs, model.variables("stopped.db"));
    while (!std::filesystem::exists(model.folder / "stopped.db")) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    process.signal(SIGINT);
    CHECK(process.wait().code == 130);
    CHECK(run_cli(options + kConfigs, model.variables("stopped.db")).code == 0);
  }

  TEST_CASE("while several devices work, the parent holds none of them") {
    const Model model;
    const auto contexts = model.folder / "contexts";
    std::filesystem::create_directory(contexts);
    std::string options = model.options;
    options.replace(0, options.find("--effort"), "--device emulated:h100,emulated:h100 ");
    std::vector<std::string> variables = model.variables();
    variables.push_back("NVFP4_EMULATOR_CONTEXTS=" + contexts.string());
    CliProcess process(options + kConfigs, variables);
    bool two = false;
    bool parent_too = false;
    while (process.running()) {
      std::set<std::string> holders;
      for (const auto& file : std::filesystem::directory_iterator(contexts)) {
        const std::string pid = file.path().stem();
        // A process that was killed leaves its file.
        if (std::filesystem::exists("/proc/" + pid)) holders.insert(pid);
      }
      const bool parent = holders.contains(std::to_string(process.pid()));
      two = two || (!parent && holders.size() >= 2);
      parent_too = parent_too || (parent && holders.size() > 2);
    }
    CHECK(process.wait().code == 0);
    CHECK(two);
    CHECK_FALSE(parent_too);
  }

  TEST_CASE("cards that differ do not share the work") {
    const Model model;
    std::string options = model.options;
    options.replace(0, options.find("--effort"), "--device emulated:h100,emulated:a100 ");
    const CliResult result = run_cli(options + kConfigs, model.variables());
    CHECK(result.code == 0);
    CHECK(contains(result.err, "device emulated:a100, "));
    CHECK(contains(result.err, "is not like the first (sm_90a 132"));
    CHECK(Json::parse(result.out)["rows"].size() == 24);
    CHECK(run_cli("--shape 64,64 --M 1 --device 0,0").code == 2);
    CHECK(run_cli("--shape 64,64 --M 1 --device 0,").code == 2);
    CHECK(run_cli("lookup --shape 64,64 --M 1 --device 0,1").code == 2);
  }

  TEST_CASE("what makes no sense is refused before anything is opened") {
    const auto refusal = [](const std::string& arguments) {
      const CliResult result = run_cli(arguments + " --device emulated:h100");
      CHECK(result.code == 2);
      CHECK(result.out.empty());
      return result.err;
    };
    CHECK(contains(refusal("--model qwen3-8b --shape 64,64"), "exclude each other"));
    CHECK(contains(refusal("--shape 64,64 --M 1 --tp 2"), "--tp needs --model"));
    CHECK(contains(refusal("--shape 1048576,1048576 --M 1"),
                   "--shape 1048576,1048576 takes 618.48 GB of packed weights, the card has "));
    CHECK(contains(refusal("--model qwen3-8b --tp 0"), "--tp '0' is not a list of 1 to 1024"));
    CHECK(contains(refusal("--model qwen3-8b --shard 0/4"), "--shard '0/4' is not I/N"));
    CHECK(contains(refusal("--model qwen3-8b --shard 5/4"), "--shard '5/4' is not I/N"));
    CHECK(contains(refusal("--model qwen3-7b --plan"), "no name of gemma-4-12b"));
    CHECK(contains(refusal("lookup --model qwen3-8b --M 1"), "does not apply to this command"));
    CHECK(contains(refusal("--model gpt-oss-20b --M 1000000"), "M = 4000000 exceeds 1048576"));
    CHECK(contains(refusal("--model qwen3-8b --experts 8"), "--experts goes with --shape"));
    const CliResult grouped = run_cli(
        "--shape 64,64 --experts 8 --M 16 --plan --device emulated:h100 --format json --db /n/x");
    CHECK(Json::parse(grouped.out)["rows"][0]["experts"] == 8);
    const CliResult both = run_cli(
        "--shape 64,64 --shape 128,64 --experts 4 --M 16 --plan --device emulated:h100 --format "
        "json --db /n/x");
    const Json rows = Json::parse(both.out)["rows"];
    REQUIRE(rows.size() == 2);
    for (const Json& row : rows) CHECK(row["experts"] == 4);
    CHECK(run_cli("--model list --format json", {"NVFP4_DEVICE=0"}).code == 0);
  }
}
