// SPDX-License-Identifier: Apache-2.0
#include "generator/emit.h"

#include <doctest/doctest.h>

using namespace nvfp4;

TEST_SUITE("emit") {
  const Problem problem{.n = 4096, .k = 1024, .arch = {9, 0, true}};

  TEST_CASE("the emitted unit only names the config and instantiates the template") {
    CHECK(emit_source({.block_n = 128, .pdl = true}, problem) == R"(#include "gemm_mma.cuh"

// family=mma,act=bf16,block_n=128,pdl=1
constexpr auto kConfig = nvfp4::KernelConfig{.family = nvfp4::Family::mma, .act = nvfp4::Activation::bf16,
    .block_n = 128, .block_m = 16, .block_k = 64, .warps_n = 1, .warps_k = 4,
    .num_stages = 3, .schedule = nvfp4::Schedule::data_parallel, .split_k = 1, .ctas_per_sm = 1,
    .cluster_n = 1, .cluster_k = 1, .pdl = true};
static_assert(nvfp4::smem_bytes(kConfig) == 79872, "host and device disagree");
static_assert(nvfp4::threads(kConfig) == 128, "host and device disagree");
extern "C" __global__ void __launch_bounds__(nvfp4::threads(kConfig), kConfig.ctas_per_sm)
nvfp4_gemm(const __grid_constant__ nvfp4::GemmParams params) {
  nvfp4::gemm_mma<kConfig, 4096, 1024>(params, nvfp4::OneOutput<4096>{params});
}
)");
  }

  TEST_CASE("a form adds its parameter and nothing else") {
    const std::string split = emit_source({}, problem, Outputs::split);
    CHECK(split.find("nvfp4::OutputParts parts)") != std::string::npos);
    CHECK(split.find("(params, nvfp4::SplitOutput{parts});") != std::string::npos);
    Problem experts = problem;
    experts.kind = ProblemKind::grouped;
    experts.experts = 8;
    const std::string grouped = emit_source({}, experts);
    CHECK(grouped.starts_with("#include \"gemm_grouped.cuh\"\n"));
    CHECK(grouped.find("nvfp4::gemm_mma_grouped<kConfig, 4096, 1024>(params, groups);") !=
          std::string::npos);
  }

  TEST_CASE("different configs and shapes give different sources") {
    CHECK(emit_source({.pdl = true}, problem) != emit_source({}, problem));
    Problem other = problem;
    other.k = 2048;
    CHECK(emit_source({}, other) != emit_source({}, problem));
  }

  TEST_CASE("the standalone file includes nothing and holds every template once") {
    const std::string text = emit_standalone({}, problem);
    CHECK(text.find("#include") == std::string::npos);
    CHECK(text.find("#pragma once") == std::string::npos);
    const size_t first = text.find("struct KernelConfig {");
    REQUIRE(first != std::string::npos);
    CHECK(text.find("struct KernelConfig {", first + 1) == std::string::npos);
  }
}
