// SPDX-License-Identifier: Apache-2.0
// Every class of error at every place where one can come up, through the pipeline and real worker
// processes on the emulated device: the run completes, and the culprit alone has its row, with the
// right class. This program is its own worker, one that fails on request.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "runtime/compiler.h"
#include "tests/cli_process.h"
#include "tests/emulated_workshop.h"
#include "tests/fault_worker.h"
#include "tests/temporary_folder.h"
#include "tests/three_candidates.h"
#include "tuner/compile_service.h"
#include "tuner/pipeline.h"
#include "tuner/worker_roles.h"

using namespace nvfp4;
using namespace std::chrono_literals;

namespace {

struct Fixture : EmulatedWorkshop {
  explicit Fixture(const std::string& cache_folder = NVFP4_BINARY_DIR "/tests/fault_cache")
      : EmulatedWorkshop(cache_folder) {}

  Problem problem() const { return {.n = 64, .k = 64, .arch = gpu.facts().arch}; }

  Workshop workshop(std::chrono::milliseconds limit) {
    Workshop shop = EmulatedWorkshop::workshop();
    shop.bench_limit = limit;
    shop.compile_limit = limit;
    return shop;
  }

  /// Three candidates, the second of which fails as `fault` says.
  ThreeOutcomes run(const std::string& fault, std::chrono::milliseconds limit = 60s,
                    bool timed = false) {
    const ScopedEnvironment culprit("NVFP4_TEST_CULPRIT", kCulprit.c_str());
    const ScopedEnvironment what("NVFP4_TEST_FAULT", fault.c_str());
    const ScopedEnvironment clock("NVFP4_TEST_TIMED", timed ? "1" : "0");
    const Workshop shop = workshop(limit);
    return try_three(shop, problem(), 2, {Policy::graph});
  }

  /// The same, with all that must hold whatever the fault.
  void check(const std::string& fault, const std::string& verdict,
             std::chrono::milliseconds limit = 60s, bool timed = false) {
    CAPTURE(fault);
    const ThreeOutcomes outcome = run(fault, limit, timed);
    CHECK(outcome.error == "");
    CHECK(outcome.end == RunEnd::complete);
    CHECK(outcome.verdict(kBefore) == "ok");
    CHECK(outcome.verdict(kAfter) == "ok");
    CHECK(outcome.verdict(kCulprit) == verdict);
  }
};

// What ends a context; 702 is the driver's own word for a kernel that took too long.
constexpr int kSticky[] = {700, 702, 710, 715, 716, 717, 718, 719};

}  // namespace

TEST_SUITE("fault_matrix") {
  TEST_CASE("without a fault all three pass") {
    Fixture fixture;
    fixture.check("", "ok");
    fixture.check("", "ok", 60s, true);
  }

  TEST_CASE("an error that ends the context, wherever it comes up") {
    Fixture fixture;
    for (const char* place : {"load:1", "alloc:1", "copy:1", "memset:1", "launch:1", "kernel:1",
                              "sync:1", "free:1", "free:last"}) {
      for (const int code : kSticky) {
        fixture.check(std::string(place) + "=" + std::to_string(code),
                      code == CUDA_ERROR_LAUNCH_TIMEOUT ? "hang" : "fault");
      }
    }
  }

  TEST_CASE("the same while the kernel is timed") {
    Fixture fixture;
    for (const char* place : {"event:1", "capture:1", "graph:1", "graph:last", "event:last"}) {
      for (const int code : {700, 702, 719}) {
        fixture.check(std::string(place) + "=" + std::to_string(code),
                      code == CUDA_ERROR_LAUNCH_TIMEOUT ? "hang" : "fault", 60s, true);
      }
    }
  }

  TEST_CASE("an error that ends only the call") {
    Fixture fixture;
    for (const char* code : {"200", "209", "218", "222", "1"}) {
      fixture.check(std::string("load:1=") + code, "load_failed");
    }
    for (const char* code : {"1", "701"}) {
      fixture.check(std::string("launch:1=") + code, "launch_error");
    }
    // No memory left speaks of the machine, wherever it shows.
    for (const char* place : {"load:1", "alloc:1", "launch:1"}) {
      fixture.check(std::string(place) + "=2", "launch_error");
    }
  }

  TEST_CASE("a call that never returns and a kernel that never ends") {
    Fixture fixture;
    for (const char* place : {"load:1", "launch:1", "kernel:1", "sync:1", "free:1"}) {
      fixture.check(std::string(place) + "=hang", "hang", 700ms);
    }
    fixture.check("graph:1=hang", "hang", 700ms, true);
  }

  TEST_CASE("a worker that crashes, quits, babbles, or stops within its reply") {
    Fixture fixture;
    for (const char* fault : {"signal", "exit", "garbage", "half"}) fixture.check(fault, "fault");
    CHECK(fixture.run("signal").text(kCulprit).find("signal 11") != std::string::npos);
  }

  TEST_CASE("a kernel that fails only in the finals is singled out; the others have their times") {
    const ScopedEnvironment there("NVFP4_TEST_IN_FINALS", "1");
    const ScopedEnvironment culprit("NVFP4_TEST_CULPRIT", kCulprit.c_str());
    const std::pair<const char*, Verdict> faults[] = {{"launch:5=700", Verdict::fault},
                                                      {"event:3=719", Verdict::fault},
                                                      {"launch:5=702", Verdict::hang},
                                                      {"signal", Verdict::fault},
                                                      {"sync:1=hang", Verdict::hang}};
    for (const auto& [fault, verdict] : faults) {
      CAPTURE(fault);
      const ScopedEnvironment what("NVFP4_TEST_FAULT", fault);
      Fixture fixture;
      const bool waits = std::string(fault).ends_with("hang");
      const Workshop shop = fixture.workshop(waits ? 3s : 60s);
      const auto ignore = [](const KernelConfig&) {};
      Pipeline pipeline(shop, fixture.problem(), {Policy::graph}, 2, 1,
                        {.started = ignore, .measured = [](auto&) {}, .finished = ignore});
      const std::vector<Measurement> rows =
          pipeline.finals(2, Policy::graph,
                          {*parse_config(kBefore), *parse_config(kCulprit), *parse_config(kAfter)});
      REQUIRE(rows.size() == 3);
      CHECK(rows[0].verdict == Verdict::ok);
      CHECK(rows[1].verdict == verdict);
      CHECK(rows[1].text.starts_with("while it was timed: "));
      CHECK(rows[2].verdict == Verdict::ok);
      CHECK(rows[0].samples_us.size() == rows[2].samples_us.size());
      CHECK(rows[0].samples_us.size() >= 15);
      CHECK(rows[1].samples_us.empty());
    }
  }

  TEST_CASE("a compiler that crashes, quits or never ends costs its candidate only") {
    const std::pair<const char*, const char*> kinds[] = {
        {"signal", "compile_error"}, {"exit", "compile_error"}, {"never", "compile_timeout"}};
    for (const auto& [kind, verdict] : kinds) {
      Fixture fixture("");  // nothing is compiled yet
      const ScopedEnvironment compiler("NVFP4_TEST_COMPILER", kind);
      fixture.check("", verdict, 10s);
    }
  }

  TEST_CASE("a card that is no longer sane ends the run, with the rows until then") {
    Fixture fixture;
    // Every new process finds the card broken.
    const ScopedEnvironment broken("NVFP4_EMULATOR_FAULTS", "memset:3+=719");
    const ThreeOutcomes outcome = fixture.run("signal");
    CHECK(outcome.error.find("is suspect since") != std::string::npos);
    CHECK(outcome.error.find("in 2 fresh processes") != std::string::npos);
    CHECK(outcome.verdict(kAfter) == "no row");
    CHECK(outcome.rows.size() >= 1);
  }

  TEST_CASE("the program then says so, exits with 3, and keeps what it has") {
    TemporaryFolder folder;
    const std::string tune = "--device emulated:h100 --shape 64,64 --M 2 --policy graph --config " +
                             kCulprit + " --cache " NVFP4_BINARY_DIR "/tests/fault_cache --db " +
                             (folder / "db").string();
    const CliResult broken = run_cli(tune, {"NVFP4_EMULATOR_FAULTS=kernel:1+=719"});
    CHECK(broken.code == 3);
    CHECK(broken.err.find("is suspect since " + kCulprit) != std::string::npos);
    // Once on record, the kernel is not started again.
    const CliResult again = run_cli(tune + " --format json");
    CHECK(again.code == 1);
    CHECK(again.out.find("\"known\": 1") != std::string::npos);
  }
}

int main(int argc, char** argv) {
  const std::string role = argc == 3 && std::string(argv[1]) == "--worker" ? argv[2] : "";
  if (role == "bench") {
    FaultyBench bench;
    return serve_requests([&](const Message& request) { return bench.serve(request); });
  }
  if (role == "compile") {
    CompileService service;
    return serve_requests([&](const Message& request) {
      const std::string fault = test_variable("NVFP4_TEST_COMPILER");
      const bool culprit = request.body.find(kCulprit) != std::string::npos;
      if (culprit) die_of(fault);
      if (culprit && fault == "never") pause();
      return service.serve(request);
    });
  }
  if (!role.empty()) return serve_role(role);
  return doctest::Context(argc, argv).run();
}
