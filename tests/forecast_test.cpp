// SPDX-License-Identifier: Apache-2.0
// Kernels of the next shape, compiled while this one is tried: the right ones, by workers that have
// nothing else to do, and without a trace in what is tried meanwhile. This program is its own
// worker.
#include "tuner/forecast.h"

#include <doctest/doctest.h>

#include <set>

#include "generator/config_text.h"
#include "generator/emit.h"
#include "runtime/code_hash.h"
#include "tests/emulated_workshop.h"
#include "tests/temporary_folder.h"
#include "tests/three_candidates.h"

using namespace nvfp4;

namespace {

struct Folder {
  TemporaryFolder folder;  // of the cache: it is there before and after
};

struct Fixture : Folder, EmulatedWorkshop {
  Fixture() : EmulatedWorkshop(folder / "cache") {}

  Problem problem(int64_t n = 64, int64_t k = 128) const {
    return {.n = n, .k = k, .arch = gpu.facts().arch};
  }

  bool compiled(const std::string& source) {
    return cache.find(cache_key(compiler, source, gpu.facts().arch)).has_value();
  }
};

Listener listener(std::function<void(const std::vector<Measurement>&)> measured) {
  const auto ignore = [](const KernelConfig&) {};
  return {.started = ignore, .measured = std::move(measured), .finished = ignore};
}

std::vector<Task> tasks(const std::vector<std::string>& configs) {
  std::vector<Task> list;
  for (const std::string& text : configs) {
    list.push_back({.candidate = {.config = *parse_config(text)}, .tokens = {2}});
  }
  return list;
}

}  // namespace

TEST_SUITE("forecast") {
  TEST_CASE("every kernel that it names is one that the run asks for") {
    Fixture fixture;
    const TuneRequest request{.problem = fixture.problem(16384, 4096),
                              .tokens = {1, 16},
                              .policies = {Policy::graph, Policy::graph_pdl},
                              .effort = Effort::quick};
    std::vector<std::string> sources;
    Forecast forecast(request, fixture.gpu.facts());
    while (std::optional<std::string> source = forecast.next()) sources.push_back(*source);
    CHECK(std::set<std::string>(sources.begin(), sources.end()).size() == sources.size());
    CHECK(sources.size() >= 4);  // one or two for each M, and the gate's with fewer rows

    TuningDb database("", Access::memory);
    tune(request, fixture.workshop(), database);
    for (const std::string& source : sources) CHECK(fixture.compiled(source));
  }

  TEST_CASE("it names as many for each M as quick tuning on a card tries at least") {
    Device device = open_device("emulated:h100").gpu.facts();
    device.emulated = false;
    const TuneRequest request{.problem = {.n = 4096, .k = 4096, .arch = device.arch},
                              .tokens = {1, 64},
                              .policies = {Policy::graph},
                              .effort = Effort::quick};
    const auto count = [&](const TuneRequest& wanted) {
      Forecast forecast(wanted, device);
      size_t sources = 0;
      while (forecast.next()) ++sources;
      return sources;
    };
    TuneRequest first = request;
    first.tokens = {1};
    CHECK(count(first) == 40);
    CHECK(count(request) > 40);
    CHECK(count(request) <= 80);
  }

  TEST_CASE("what is compiled ahead is in the cache, and has no part in the run") {
    Fixture fixture;
    std::vector<std::string> ahead = {"#error no kernel\n", "#include \"read_stream.cuh\"\n"};
    size_t asked = 0;
    Workshop shop = fixture.workshop();
    shop.ahead = [&]() -> std::optional<std::string> {
      if (asked++ < ahead.size()) return ahead[asked - 1];
      return std::nullopt;
    };
    std::set<std::string> passed;
    size_t rows = 0;
    Pipeline pipeline(shop, fixture.problem(), {Policy::graph}, 2, 1,
                      listener([&](const std::vector<Measurement>& measured) {
                        for (const Measurement& row : measured) {
                          ++rows;
                          if (row.verdict == Verdict::ok) {
                            passed.insert(config_text(row.kernel.config));
                          }
                        }
                      }));
    const auto later = Pipeline::Clock::now() + std::chrono::minutes(10);
    CHECK(pipeline.run(tasks({kBefore, kCulprit, kAfter}), later) == RunEnd::complete);
    CHECK(passed == std::set<std::string>{kBefore, kCulprit, kAfter});
    CHECK(rows == 3);
    // One compile worker: when it takes no third, both are done.
    for (int i = 0; i < 50 && asked <= ahead.size(); ++i) {
      CHECK(pipeline.finals(2, Policy::graph, {*parse_config(kBefore)}).size() == 1);
    }
    CHECK(asked > ahead.size());
    CHECK_FALSE(fixture.compiled(ahead[0]));
    CHECK(fixture.compiled(ahead[1]));
  }

  TEST_CASE("without a folder that the workers share nothing is compiled ahead") {
    Fixture fixture;
    fixture.options.directory.clear();
    Workshop shop = fixture.workshop();
    bool asked = false;
    shop.ahead = [&]() -> std::optional<std::string> {
      asked = true;
      return std::nullopt;
    };
    Pipeline pipeline(shop, fixture.problem(), {Policy::graph}, 2, 1, listener([](auto&) {}));
    CHECK(pipeline.finals(2, Policy::graph, {*parse_config(kBefore)}).size() == 1);
    CHECK_FALSE(asked);
  }

  TEST_CASE("a run takes no kernel that an earlier one asked for and gave up on") {
    Fixture fixture;
    std::map<std::string, std::string> code;  // by config
    Pipeline pipeline(fixture.workshop(), fixture.problem(), {Policy::graph}, 2, 1,
                      listener([&](const std::vector<Measurement>& rows) {
                        for (const Measurement& row : rows) {
                          code[config_text(row.kernel.config)] = row.kernel.code_hash;
                        }
                      }));
    // A second to compile; the first candidate has long passed by then, and the time is over.
    const std::string slow =
        "family=wgmma,act=bf16,block_n=256,block_m=128,block_k=128,warps_n=8,warps_k=1";
    CHECK(pipeline.run(tasks({kBefore, slow}), Pipeline::Clock::now()) == RunEnd::out_of_time);
    const auto later = Pipeline::Clock::now() + std::chrono::minutes(10);
    CHECK(pipeline.run(tasks({kCulprit, kAfter}), later) == RunEnd::complete);
    for (const std::string& text : {kCulprit, kAfter}) {
      const std::string source = emit_source(*parse_config(text), fixture.problem());
      const Compilation built =
          fixture.cache.get_or_compile(fixture.compiler, source, fixture.gpu.facts().arch);
      CHECK(code[text] == code_hash(built.cubin).value_or("none"));
    }
  }
}
