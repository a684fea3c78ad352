// SPDX-License-Identifier: Apache-2.0
// Grouped launches: every expert's tokens get exactly what a launch of that expert alone would give
// them, whatever the distribution.
#include <doctest/doctest.h>

#include <cstring>

#include "generator/candidate_space.h"
#include "generator/launch_plan.h"
#include "generator/legality.h"
#include "runtime/pack.h"
#include "tests/abi_fixture.h"
#include "tuner/gate_data.h"

using namespace nvfp4;

namespace {

constexpr int64_t kN = 104, kK = 208;
constexpr uint8_t kPoison = 0x5a;

/// Experts with so many tokens each, exact data, and the product of them all in one launch.
struct Experts {
  Experts(const AbiContext& on, const std::vector<int64_t>& tokens) : context(on) {
    offsets.push_back(0);
    for (const int64_t count : tokens) {
      cases.push_back(make_gate_case(
          GateKind::exact, {.n = kN, .k = kK, .m = std::max<int64_t>(count, 1), .bias = true},
          10 + cases.size()));
      add(cases.back(), count);
      offsets.push_back(offsets.back() + static_cast<int32_t>(count));
    }
  }

  void add(const GateCase& data, int64_t count) {
    std::vector<uint8_t> packed(packed_bytes(kN, kK));
    pack(data.codes, data.scales, kN, kK, packed, 1, "expert");
    weights.insert(weights.end(), packed.begin(), packed.end());
    scales.insert(scales.end(), data.global_scales.begin(), data.global_scales.end());
    bias.insert(bias.end(), data.bias.begin(), data.bias.end());
    for (int64_t m = 0; m < count; ++m) {
      const auto* row = &data.activations[m * data.lda];
      activations.insert(activations.end(), row, row + kK);
    }
  }

  int64_t tokens() const { return offsets.back(); }

  /// Launches for `m` >= tokens() rows and returns the output, poisoned before.
  std::vector<uint16_t> product(int64_t m, uint32_t flags = 0) const {
    nvfp4_problem problem = problem_of(kN, kK, flags);
    problem.experts = std::ssize(cases);
    nvfp4_gemm gemm = 0;
    REQUIRE(said(nvfp4_prepare(context.handle, &problem, 1, 128, &gemm)) == "NVFP4_OK");
    size_t workspace = 1;
    CHECK(nvfp4_workspace_size(gemm, &workspace) == NVFP4_OK);
    CHECK(workspace == 0);
    auto rows = activations;
    rows.resize(std::max<int64_t>(m, 1) * kK);
    const DeviceBuffer device_weights = upload(context.gpu, weights);
    const DeviceBuffer device_rows = upload(context.gpu, rows);
    const DeviceBuffer device_scales = upload(context.gpu, scales);
    const DeviceBuffer device_bias = upload(context.gpu, bias);
    const DeviceBuffer device_offsets = upload(context.gpu, offsets);
    DeviceBuffer out(context.gpu, std::max<int64_t>(m, 1) * kN * 2);
    out.fill(std::byte{kPoison});
    nvfp4_launch_args args{};
    args.size = sizeof args;
    args.m = m;
    args.weights = device_weights.as();
    args.global_scales = device_scales.as<float>();
    args.activations = device_rows.as();
    args.bias = device_bias.as();
    args.out = out.as();
    args.expert_offsets = device_offsets.as<int32_t>();
    const Stream stream(context.gpu);
    REQUIRE(said(nvfp4_launch(gemm, &args, stream.get())) == "NVFP4_OK");
    stream.synchronize();
    CHECK(nvfp4_gemm_destroy(gemm) == NVFP4_OK);
    return download<uint16_t>(out);
  }

  /// What the output of expert e has wrong.
  std::string wrong(const std::vector<uint16_t>& out, size_t e) const {
    const int64_t count = offsets[e + 1] - offsets[e];
    if (count == 0) return "";
    return check(cases[e], out.data() + offsets[e] * kN, kN, OutputType::bf16).value_or("");
  }

  const AbiContext& context;
  std::vector<GateCase> cases;
  std::vector<uint8_t> weights;
  std::vector<float> scales;
  std::vector<uint16_t> activations, bias;
  std::vector<int32_t> offsets;
};

}  // namespace

TEST_SUITE("grouped") {
  TEST_CASE("every distribution of tokens over experts gives each its exact product") {
    std::vector<int64_t> tokens;
    SUBCASE("some have none") { tokens = {0, 1, 17, 0, 40, 3, 0}; }
    SUBCASE("one has all") { tokens = {0, 0, 70, 0}; }
    SUBCASE("one expert") { tokens = {9}; }
    SUBCASE("the first and the last") { tokens = {5, 0, 0, 0, 16}; }
    SUBCASE("more experts than lanes") {
      tokens.assign(70, 0);
      for (const int e : {0, 1, 31, 32, 33, 64, 69}) tokens[e] = e % 5 + 1;
    }
    std::string part;
    SUBCASE("sm_80") { part = "a100"; }
    SUBCASE("sm_90a") { part = "h100"; }
    if (tokens.empty()) tokens = {2, 0, 18};
    const AbiContext context(part.empty() ? "h100" : part);
    const Experts experts(context, tokens);
    for (const uint32_t flags : {0u, uint32_t{NVFP4_PDL}}) {
      const auto out = experts.product(experts.tokens(), flags);
      for (size_t e = 0; e < tokens.size(); ++e) CHECK(experts.wrong(out, e) == "");
    }
  }

  TEST_CASE("rows beyond the last offset are neither computed nor written") {
    const AbiContext context;
    const Experts experts(context, {3, 0, 4});
    const auto out = experts.product(100);
    for (size_t e = 0; e < 3; ++e) CHECK(experts.wrong(out, e) == "");
    const uint16_t poison = kPoison << 8 | kPoison;
    CHECK(std::all_of(out.begin() + experts.tokens() * kN, out.end(),
                      [&](uint16_t value) { return value == poison; }));
  }

  TEST_CASE("no tokens at all are no work, in every expert or in the launch") {
    const AbiContext context;
    const Experts none(context, {0, 0});
    for (const int64_t m : {0, 5}) {
      for (const uint16_t value : none.product(m)) REQUIRE(value == (kPoison << 8 | kPoison));
    }
  }

  TEST_CASE("a grouped launch has CTAs for the worst distribution") {
    Problem problem{
        .kind = ProblemKind::grouped, .n = 128, .k = 64, .arch = {9, 0, true}, .experts = 8};
    const Device device = find_part("h100")->device;
    const KernelConfig config{.block_n = 64, .block_m = 16};
    const auto tiles = [&](int64_t experts, int64_t m) {
      problem.experts = experts;
      return launch_plan(config, problem, m, device).grid / 2;
    };
    CHECK(tiles(8, 0) == 0);
    CHECK(tiles(8, 1) == 1);
    CHECK(tiles(8, 8) == 8);   // one each
    CHECK(tiles(8, 23) == 8);  // 15 more fit into the tiles that are there
    CHECK(tiles(8, 24) == 9);  // 17, 1, 1, ...
    CHECK(tiles(1, 33) == 3);
  }

  TEST_CASE("every candidate of a grouped problem is of the mma family and shares no tile") {
    const Problem problem{
        .kind = ProblemKind::grouped, .n = 1536, .k = 2048, .arch = {9, 0, true}, .experts = 128};
    const Device device = find_part("h100")->device;
    for (const int64_t m : {1, 8, 100, 512, 100000}) {
      const auto list = candidates(problem, m, device);
      REQUIRE_FALSE(list.empty());
      for (const KernelConfig& config : list) {
        REQUIRE_FALSE(illegal_reason(config, problem, device));
      }
    }
    CHECK(illegal_reason({.schedule = Schedule::stream_k}, problem, device) ==
          "schedule stream_k is not for grouped kernels");
    CHECK(illegal_reason({.family = Family::wgmma}, problem, device) ==
          "family wgmma has no grouped kernels");
  }

  TEST_CASE("tokens that go anywhere reach as many experts as chance has it") {
    CHECK(busy_experts(128, 1) == 1);
    CHECK(busy_experts(128, 8) == 8);     // 7.8
    CHECK(busy_experts(128, 128) == 81);  // 1 - 1/e of them
    CHECK(busy_experts(128, 4096) == 128);
    CHECK(busy_experts(1, 5) == 1);
    Problem problem{.kind = ProblemKind::grouped, .n = 100, .k = 64, .experts = 128};
    CHECK(weight_bytes(problem, 128) == 81 * packed_bytes(100, 64));
    const DenseProduct product = dense_product(problem, 128);
    CHECK(product.problem == Problem{.n = 128 * 81, .k = 64});
    CHECK(product.m == 2);
    problem = {.n = 100, .k = 64};
    CHECK(weight_bytes(problem, 128) == packed_bytes(100, 64));
    CHECK(dense_product(problem, 128).m == 128);
  }

  TEST_CASE("what makes no grouped problem is refused by name") {
    const AbiContext context;
    nvfp4_problem problem = problem_of(kN, kK);
    nvfp4_gemm gemm = 0;
    const std::string refused = "NVFP4_INVALID_ARGUMENT: ";
    problem.experts = -1;
    CHECK(said(nvfp4_prepare(context.handle, &problem, 1, 1, &gemm)) ==
          refused + "-1 experts: 0 (a dense product) to 4096");
    problem.experts = 2;
    const int64_t rows[] = {kN};
    problem.part_rows = rows;
    problem.part_count = 1;
    CHECK(said(nvfp4_prepare(context.handle, &problem, 1, 1, &gemm)) ==
          refused + "a grouped GEMM has one output");
    problem.part_count = 0;
    REQUIRE(nvfp4_prepare(context.handle, &problem, 1, 1, &gemm) == NVFP4_OK);
    const DeviceBuffer any(context.gpu, 1 << 16);
    nvfp4_launch_args args{};
    args.size = sizeof args;
    args.m = 1;
    args.weights = args.activations = args.out = any.as();
    args.global_scales = any.as<float>();
    CHECK(said(nvfp4_launch(gemm, &args, nullptr)) ==
          refused + "expert_offsets are missing, not asked for or not 4-byte aligned");
    CHECK(nvfp4_gemm_destroy(gemm) == NVFP4_OK);
  }
}
