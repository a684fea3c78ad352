// SPDX-License-Identifier: Apache-2.0
// Whole kernels of both families from recorded PTX, and the speed of the interpreter on them, with
// all checks on.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <chrono>

#include "generator/device.h"
#include "tests/recorded_gemm.h"

namespace nvfp4::emulator {
namespace {

struct Recording {
  const char* file;
  KernelConfig config;
};
const Recording kSm80{"gemm_mma_sm80.ptx",
                      {.block_n = 64, .block_m = 16, .warps_k = 4, .num_stages = 3}};
const Recording kSm90{"gemm_mma_sm90a.ptx",
                      {.block_n = 64,
                       .block_m = 32,
                       .warps_n = 2,
                       .warps_k = 2,
                       .num_stages = 3,
                       .schedule = Schedule::stream_k,
                       .pdl = true}};

LaunchPlan plan_of(const Recording& recording, int m) {
  return launch_plan(recording.config, {.n = kN, .k = kK}, m, find_part("h100")->device);
}

// family=wgmma,act=bf16,block_k=128,warps_n=4,warps_k=1,cluster_n=2,pdl=1: its launch is recorded
// as well, so that it does not change with the templates.
constexpr const char* kWgmma = "gemm_wgmma_sm90a.ptx";
LaunchPlan wgmma_plan(int m) {
  LaunchPlan plan;
  plan.tiles_m = (m + 15) / 16;
  plan.cluster = 2;
  plan.grid = 2 * plan.tiles_m * plan.cluster;
  plan.threads = 256;
  plan.smem_bytes = 37936;
  plan.box_tokens = 8;
  return plan;
}

double rate_of(RecordedGemm& gemm) {
  gemm.request.threads = 1;
  int64_t instructions = 0;
  const auto start = std::chrono::steady_clock::now();
  while (instructions < 500'000) {
    const LaunchResult result = gemm.run();
    REQUIRE_FALSE(result.fault.has_value());
    instructions += result.warp_instructions;
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return static_cast<double>(instructions) / seconds.count() / 1e6;
}

}  // namespace

TEST_CASE("recorded kernels for sm_80 and sm_90a give the exact product in any order of CTAs") {
  for (const Recording& recording : {kSm80, kSm90}) {
    for (const int m : {1, 13, 40}) {
      for (const uint64_t seed : {0, 9}) {
        INFO(recording.file << ", M = " << m << ", seed " << seed);
        RecordedGemm gemm(plan_of(recording, m), recorded_text(recording.file), m);
        gemm.request.seed = seed;
        gemm.request.threads = 2;
        const LaunchResult result = gemm.run();
        if (result.fault) FAIL(result.fault->text);
        gemm.check_output();
      }
    }
  }
}

TEST_CASE("the text of an older PTX version runs as well") {
  const std::string text = replaced(recorded_text(kSm80.file), ".version 9.0", ".version 8.3");
  RecordedGemm gemm(plan_of(kSm80, 13), text, 13);
  const LaunchResult result = gemm.run();
  if (result.fault) FAIL(result.fault->text);
  gemm.check_output();
}

TEST_CASE("a recorded kernel without its warp barrier, its wait or its commit is caught") {
  const std::string text = recorded_text(kSm80.file);
  struct Mutation {
    const char* from;
    const char* to;
  };
  for (const Mutation& mutation :
       {Mutation{"bar.warp.sync 0xffffffff;", ""}, Mutation{"cp.async.wait_group 1;", ""},
        Mutation{"cp.async.wait_group 1;", "cp.async.wait_group 2;"},
        Mutation{"bar.sync 0;", ""}}) {
    INFO(mutation.from);
    RecordedGemm gemm(plan_of(kSm80, 13), replaced(text, mutation.from, mutation.to), 13);
    const LaunchResult result = gemm.run();
    REQUIRE(result.fault.has_value());
    CHECK((result.fault->kind == FaultKind::shared_race ||
           result.fault->kind == FaultKind::async_read_before_wait ||
           result.fault->kind == FaultKind::uninitialised_read));
  }
}

TEST_CASE("the recorded wgmma kernel gives the exact product in any order of clusters") {
  for (const int m : {1, 13, 40}) {
    for (const uint64_t seed : {0, 9}) {
      INFO("M = " << m << ", seed " << seed);
      RecordedGemm gemm(wgmma_plan(m), recorded_text(kWgmma), m);
      gemm.request.seed = seed;
      gemm.request.threads = 2;
      const LaunchResult result = gemm.run();
      if (result.fault) FAIL(result.fault->text);
      gemm.check_output();
    }
  }
}

TEST_CASE("one host thread runs the main loops at a useful rate with all checks on") {
  RecordedGemm mma(plan_of(kSm80, 16), recorded_text(kSm80.file), 16);
  RecordedGemm wgmma(wgmma_plan(16), recorded_text(kWgmma), 16);
  const double mma_rate = rate_of(mma);
  const double wgmma_rate = rate_of(wgmma);
  MESSAGE(fmt::format("{:.2f} and, with wgmma, {:.2f} million warp instructions a second", mma_rate,
                      wgmma_rate));
  CHECK(mma_rate > 0.3);
  CHECK(wgmma_rate > 0.3);
}

}  // namespace nvfp4::emulator
