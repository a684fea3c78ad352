// SPDX-License-Identifier: Apache-2.0
// A tiny suite on the emulated device: which kernels answer, what is left out, what a stop leaves.
#include "tuner/suite_run.h"

#include <doctest/doctest.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "generator/config_text.h"
#include "runtime/compiler.h"
#include "tests/emulated_workshop.h"
#include "tests/suite_fixture.h"
#include "tests/temporary_folder.h"
#include "tuner/pipeline.h"

using namespace nvfp4;

namespace {

struct Fixture : EmulatedWorkshop {
  // The cache is all cases': only what is compiled matters here, not that it is.
  explicit Fixture(const std::string& part = "h100")
      : EmulatedWorkshop(NVFP4_BINARY_DIR "/tests/suite_cache", part) {}

  Snapshot snapshot{gpu.facts(), {}};
  bool stop = false;
  SuiteResults results{.modelled = true};
  int calls = 0;

  Workshop workshop(std::function<bool()> stopped) {
    return EmulatedWorkshop::workshop(2, std::move(stopped));
  }

  SuiteOutcome run(const SuiteRequest& request, int stop_after = 1 << 30) {
    return run_suite(request, workshop([this] { return stop; }), snapshot, results,
                     [&, stop_after] {
                       if (++calls >= stop_after) stop = true;
                     });
  }
};

const SuiteRequest kRequest{.shapes = {{64, 128}, {128, 64}}, .tokens = {1, 8}};

}  // namespace

TEST_SUITE("suite_run") {
  TEST_CASE("every shape and M has a row with both policies, and the ceilings are there") {
    Fixture f;
    const SuiteOutcome outcome = f.run(kRequest);
    CHECK(outcome.end == RunEnd::complete);
    CHECK_FALSE(outcome.wrong);
    CHECK(f.calls == 4);
    REQUIRE(f.results.rows.size() == 4);
    for (const SuiteRow& row : f.results.rows) {
      CHECK(row.timed());
      REQUIRE(row.pdl.has_value());
      CHECK(*row.pdl->us < *row.graph.us);
      CHECK(row.pdl->answer == "default");
      CHECK(row.pdl->note.empty());
      REQUIRE(parse_config(row.pdl->config).has_value());
      CHECK(parse_config(row.pdl->config)->pdl);
      CHECK(figures(f.results.ceilings, row).f > 0);
    }
    CHECK(f.results.rows[1].m == 8);
    CHECK(f.results.rows[2].n == 128);
    CHECK(f.results.complete);
    CHECK(f.results.ceilings.read_us.size() == 1);  // both shapes pack to the same bytes
    CHECK_FALSE(f.results.ceilings.bf16_tflops.has_value());
    CHECK(f.results.ceilings.assumed_tflops == doctest::Approx(758).epsilon(0.01));
    CHECK(f.results.ceilings.bf16_source.find("data sheet") != std::string::npos);
    CHECK(f.results.baseline.empty());
  }

  TEST_CASE("what is there already is not measured again") {
    Fixture f;
    f.results.rows = {suite_row(64, 128, 1, 3), suite_row(128, 64, 1, 3), suite_row(128, 64, 8, 3)};
    f.run(kRequest);
    CHECK(f.calls == 1);
    REQUIRE(f.results.rows.size() == 4);
    CHECK(f.results.rows[0].pdl->us == 3);
    CHECK(f.results.rows[3].m == 8);
    // Nothing at all to do.
    CHECK(f.run(kRequest).end == RunEnd::complete);
    CHECK(f.calls == 1);
  }

  TEST_CASE("a stop keeps the rows that are whole, and the next run goes on from there") {
    Fixture f;
    CHECK(f.run(kRequest, 1).end == RunEnd::stopped);
    CHECK(f.results.rows.size() == 1);
    CHECK_FALSE(f.results.complete);
    f.stop = false;
    CHECK(f.run(kRequest).end == RunEnd::complete);
    CHECK(f.results.rows.size() == 4);
    CHECK(f.results.complete);
  }

  TEST_CASE("stopped before the first row, nothing is claimed") {
    Fixture f;
    f.stop = true;
    CHECK(f.run(kRequest).end == RunEnd::stopped);
    CHECK(f.results.rows.empty());
  }

  TEST_CASE("a card without dependent launches has one policy, and no baseline without a GPU") {
    Fixture f("a100");
    f.run({.shapes = {{64, 128}}, .tokens = {8}, .baseline = true});
    REQUIRE(f.results.rows.size() == 1);
    CHECK_FALSE(f.results.rows[0].pdl.has_value());
    CHECK(f.results.rows[0].timed());
    CHECK_FALSE(f.results.rows[0].us_cublas.has_value());
    CHECK(f.results.baseline.find("unavailable") != std::string::npos);
  }

  TEST_CASE("a kernel that faults is a row without a time that says why") {
    // Read by the emulated device when a worker opens it: its kernels fault but for the
    // first three: with those a fresh worker shows that the card is sound.
    const ScopedEnvironment faults("NVFP4_EMULATOR_FAULTS", "kernel:4+=700");
    Fixture f;
    const SuiteOutcome outcome = f.run({.shapes = {{64, 128}}, .tokens = {8}});
    CHECK(outcome.end == RunEnd::complete);
    REQUIRE(f.results.rows.size() == 1);
    CHECK_FALSE(f.results.rows[0].timed());
    CHECK(f.results.rows[0].graph.note.starts_with("fault"));
  }

  TEST_CASE("a worker times cuBLASLt's product, and says why when it cannot") {
    Fixture f;
    const auto time = [&] {
      const Problem problem{.n = 64, .k = 128, .arch = f.gpu.facts().arch};
      Pipeline pipeline(f.workshop([] { return false; }), problem, {Policy::graph}, 8, 1, {});
      return pipeline.matrix(8192, 2048, 1);
    };
    const ScopedEnvironment library("NVFP4_CUBLASLT", FAKE_CUBLAS);
    const std::optional<MatrixResult> timed = time();
    REQUIRE(timed.has_value());
    CHECK(timed->error == "");
    CHECK(timed->library == "cuBLASLt 13.1.2");
    CHECK(timed->times.samples_us.size() == 25);
    {
      const ScopedEnvironment wrong("FAKE_CUBLAS", "wrong");
      CHECK(time()->error.starts_with("cuBLASLt gives"));
    }
    const ScopedEnvironment missing("NVFP4_CUBLASLT", "/nowhere/libcublasLt.so.13");
    CHECK(time()->error.starts_with("cuBLASLt not found: /nowhere/libcublasLt.so.13"));
  }

  TEST_CASE("after a stop nothing more is asked of a worker that is still busy") {
    Fixture f;
    const Problem problem{.n = 64, .k = 128, .arch = f.gpu.facts().arch};
    const auto stopped = [&f] { return f.calls++ >= 1; };
    Pipeline pipeline(f.workshop(stopped), problem, {Policy::graph}, 8, 1, {});
    CHECK_FALSE(pipeline.matrix(64, 128, 8).has_value());  // given up at once
    CHECK_FALSE(pipeline.matrix(64, 128, 8).has_value());  // not "no idle worker"
  }
}
