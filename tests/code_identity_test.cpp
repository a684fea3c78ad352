// SPDX-License-Identifier: Apache-2.0
// A measurement belongs to machine code. Where another toolchain makes the same code it stands;
// where it makes other code, the library says so and the next tuning measures just that again.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "runtime/nvfp4_gemm.h"
#include "tests/cli_process.h"
#include "tests/raw_sqlite.h"
#include "tuning_db/tuning_db.h"

using namespace nvfp4;
using Json = nlohmann::json;

namespace {

const std::string kConfigs[] = {"family=mma,act=bf16,block_n=32,block_m=8,warps_k=2",
                                "family=mma,act=bf16,block_n=16,block_m=8,warps_k=2"};

Json tune(const std::string& path) {
  const CliResult result =
      run_cli("--shape 64,128 --M 8 --policy graph --device emulated:h100 --format json --config " +
                  kConfigs[0] + " --config " + kConfigs[1],
              {"NVFP4_DB=" + path, "NVFP4_CACHE=" NVFP4_BINARY_DIR "/tests/cli_cache"});
  REQUIRE_MESSAGE(result.code == 0, result.err);
  return Json::parse(result.out);
}

/// Prepares the tuned shape with a fresh library; returns what it warned of.
std::vector<std::string> prepare_twice(const std::string& path) {
  std::vector<std::string> warnings;
  const Runtime runtime(open_device("emulated:h100").gpu,
                        {.database = path,
                         .cache = NVFP4_BINARY_DIR "/tests/cli_cache",
                         .warn = [&](const std::string& text) { warnings.push_back(text); }});
  const GemmRequest request{.n = 64, .k = 128, .policy = Policy::graph};
  for (int i = 0; i < 2; ++i) {
    const Gemm gemm = runtime.prepare(request, 8, 8);
    CHECK(gemm.ranges()[0].selection.layer == Layer::user);
    CHECK(gemm.ranges()[0].code_hash.size() == 64);
  }
  return warnings;
}

void measured_with_another_nvrtc(const std::string& path) {
  REQUIRE(forge_row(path, "toolchain", 1, "nvrtc = '12.3.1'"));
}

}  // namespace

TEST_SUITE("code identity") {
  TEST_CASE("rows of another toolchain stand when it made the same machine code") {
    const TemporaryFolder folder;
    const std::string path = folder / "tuning.db";
    const Json first = tune(path);
    CHECK(first["candidates"].size() == 2);
    measured_with_another_nvrtc(path);
    const Json again = tune(path);
    CHECK(again["candidates"].empty());
    CHECK(again["rows"][0]["answer"] == "database");
    CHECK(again["rows"][0]["evidence"] == first["rows"][0]["evidence"]);
    CHECK(TuningDb(path, Access::read_only).counts().measurements == 2);
    CHECK(prepare_twice(path).empty());
  }

  TEST_CASE("a kernel whose machine code differs is measured again, and no other") {
    const TemporaryFolder folder;
    const std::string path = folder / "tuning.db";
    tune(path);
    measured_with_another_nvrtc(path);
    REQUIRE(forge_row(path, "kernel", 2, "code_hash = 'of another compiler'"));
    const Json again = tune(path);
    REQUIRE(again["candidates"].size() == 1);
    const std::string measured = again["candidates"][0]["config"];
    const std::vector<Measurement> rows = TuningDb(path, Access::read_only).measurements();
    REQUIRE(rows.size() == 3);
    CHECK(rows[2].kernel.config == rows[1].kernel.config);
    CHECK(rows[2].toolchain.nvrtc != "12.3.1");
    CHECK(tune(path)["candidates"].empty());
  }

  TEST_CASE("the library runs other machine code than was measured, and says so once") {
    const TemporaryFolder folder;
    const std::string path = folder / "tuning.db";
    tune(path);
    CHECK(prepare_twice(path).empty());
    for (const int64_t kernel : {1, 2}) {
      REQUIRE(forge_row(path, "kernel", kernel, "code_hash = 'abcdef0123456789'"));
    }
    const std::vector<std::string> warnings = prepare_twice(path);
    REQUIRE(warnings.size() == 1);
    CHECK(warnings[0].find("N = 64, K = 128, M = 8: the kernel was measured as machine code "
                           "abcdef012345, NVRTC ") == 0);
  }

  TEST_CASE("what was imported is never taken for a measurement of one's own") {
    const TemporaryFolder folder;
    const std::string sent = folder / "sent.db", own = folder / "own.db";
    tune(sent);
    const std::vector<std::string> variables = {"NVFP4_DB=" + own};
    REQUIRE(run_cli("db import " + sent, variables).code == 0);
    const Json tuned = tune(own);
    CHECK(tuned["candidates"].size() == 2);
    CHECK(tuned["rows"][0]["answer"] == "this run");
    const std::vector<Winner> winners = TuningDb(own, Access::read_only).winners();
    REQUIRE(winners.size() == 1);
    CHECK(winners[0].origin == WinnerOrigin::tuned);
  }
}
