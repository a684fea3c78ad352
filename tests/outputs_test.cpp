// SPDX-License-Identifier: Apache-2.0
// Stacks whose parts are stored in outputs of their own: the same bits as the columns of one
// output, in every family and schedule, aligned or not, and nothing beside them.
#include <doctest/doctest.h>

#include <cstring>

#include "generator/emit.h"
#include "runtime/compiler.h"
#include "runtime/kernel.h"
#include "runtime/pack.h"
#include "tests/abi_fixture.h"
#include "tuner/gate_data.h"

using namespace nvfp4;

namespace {

constexpr int64_t kParts[] = {100, 64, 30};
constexpr int64_t kN = 128 + 64 + 30, kK = 256, kM = 21;
constexpr uint8_t kPoison = 0xa5;

struct Stack {
  explicit Stack(const Gpu& device)
      : gpu(device),
        data(make_gate_case(GateKind::exact, {.n = kN, .k = kK, .m = kM, .bias = true}, 5)),
        weights(upload(gpu, packed())),
        activations(upload(gpu, data.activations)),
        scales(upload(gpu, data.global_scales)),
        bias(upload(gpu, data.bias)) {}

  std::vector<uint8_t> packed() const {
    std::vector<uint8_t> bytes(packed_bytes(kN, kK));
    pack(data.codes, data.scales, kN, kK, bytes, 1, "stack");
    return bytes;
  }

  Problem problem() const { return {.n = kN, .k = kK, .arch = gpu.facts().arch}; }

  Kernel kernel(const KernelConfig& config, Outputs outputs) const {
    const Compilation compiled =
        Compiler::open().compile(emit_source(config, problem(), outputs), gpu.facts().arch);
    REQUIRE_MESSAGE(compiled.ok, compiled.log);
    return Kernel(gpu, gpu.emulated() ? compiled.ptx : compiled.cubin, smem_bytes(config));
  }

  /// Runs a kernel of `config` once; `parts` null: into `out`.
  void run(const Kernel& kernel, const KernelConfig& config, const OutputParts* parts, void* out,
           OutputType type) const {
    const LaunchPlan plan = launch_plan(config, problem(), kM, gpu.facts());
    DeviceBuffer workspace(gpu, plan.workspace_bytes);
    if (plan.workspace_bytes > 0) workspace.fill(std::byte{0});
    const GemmParams params{.weights = weights.as(),
                            .activations = activations.as(),
                            .out = out,
                            .bias = bias.as(),
                            .global_scales = scales.as<float>(),
                            .workspace = workspace.as(),
                            .lda = data.lda,
                            .ldo = kN,
                            .m = kM,
                            .tiles_m = plan.tiles_m,
                            .out_type = type,
                            .partials_offset = static_cast<unsigned>(plan.counter_bytes)};
    kernel.launch(params, plan, Pdl::off, nullptr, parts);
    gpu.check(gpu.driver().ctx_synchronize(), "cuCtxSynchronize");
  }

  Gpu gpu;
  GateCase data;
  DeviceBuffer weights, activations, scales, bias;
};

KernelConfig wgmma(Schedule schedule = Schedule::data_parallel, int cluster_k = 1) {
  return {.family = Family::wgmma,
          .block_n = 64,
          .block_m = 16,
          .block_k = 64,
          .warps_n = 4,
          .warps_k = 1,
          .num_stages = 4,
          .schedule = schedule,
          .cluster_k = cluster_k};
}

}  // namespace

TEST_SUITE("outputs") {
  TEST_CASE("each part's output holds its columns and nothing beside them is written") {
    KernelConfig config;
    SUBCASE("mma") { config = {.block_n = 48, .block_m = 8}; }
    SUBCASE("mma, split-K") {
      config = {.block_n = 64, .block_m = 16, .schedule = Schedule::split_k, .split_k = 2};
    }
    SUBCASE("mma, stream-K, tiles over two parts") {
      config = {.block_n = 128, .block_m = 16, .warps_n = 2, .schedule = Schedule::stream_k};
    }
    SUBCASE("wgmma") { config = wgmma(); }
    SUBCASE("wgmma, stream-K") { config = wgmma(Schedule::stream_k); }
    SUBCASE("wgmma, sums of a cluster") { config = wgmma(Schedule::data_parallel, 2); }
    const Gpu gpu = open_device(test_device()).gpu;
    const Stack stack(gpu);
    const Kernel whole = stack.kernel(config, Outputs::one);
    const Kernel split = stack.kernel(config, Outputs::split);
    for (const OutputType type : {OutputType::bf16, OutputType::fp32}) {
      for (const int64_t gap : {0, 8, 3}) {  // behind each row: aligned, aligned, not aligned
        const int64_t size = type == OutputType::fp32 ? 4 : 2;
        const DeviceBuffer one(gpu, kM * kN * size);
        stack.run(whole, config, nullptr, one.as(), type);
        const auto wanted = download<uint8_t>(one);

        OutputParts parts{};
        std::vector<DeviceBuffer> outputs;
        for (const int64_t rows : kParts) {
          const int i = parts.count++;
          outputs.emplace_back(gpu, kM * (rows + gap) * size);
          outputs.back().fill(std::byte{kPoison});
          parts.out[i] = outputs.back().as();
          parts.ldo[i] = rows + gap;
          parts.rows[i] = static_cast<int>(rows);
          parts.first_row[i] = i == 0 ? 0 : i == 1 ? 128 : 192;
        }
        stack.run(split, config, &parts, nullptr, type);
        for (int i = 0; i < parts.count; ++i) {
          const auto bytes = download<uint8_t>(outputs[i]);
          const int64_t columns = parts.rows[i] * size, pitch = parts.ldo[i] * size;
          for (int64_t m = 0; m < kM; ++m) {
            const uint8_t* row = &bytes[m * pitch];
            const int64_t first = (m * kN + parts.first_row[i]) * size;
            CHECK(std::memcmp(row, &wanted[first], columns) == 0);
            CHECK(std::all_of(row + columns, row + pitch,
                              [](uint8_t byte) { return byte == kPoison; }));
          }
        }
      }
    }
  }

  TEST_CASE("the C interface splits a stack, and refuses parts that do not make it") {
    const AbiContext context;
    const Stack stack(context.gpu);
    nvfp4_problem problem = problem_of(kN, kK);
    problem.part_rows = kParts;
    problem.part_count = 3;
    nvfp4_gemm gemm = 0;
    REQUIRE(said(nvfp4_prepare(context.handle, &problem, 1, kM, &gemm)) == "NVFP4_OK");
    size_t bytes = 0;
    REQUIRE(nvfp4_workspace_size(gemm, &bytes) == NVFP4_OK);
    const DeviceBuffer workspace(context.gpu, bytes);
    REQUIRE(nvfp4_workspace_init(context.handle, workspace.as(), bytes, nullptr) == NVFP4_OK);
    std::vector<DeviceBuffer> buffers;
    std::vector<nvfp4_output> outputs;
    for (const int64_t rows : kParts) {
      buffers.emplace_back(context.gpu, kM * rows * 2);
      outputs.push_back({buffers.back().as(), 0});
    }
    nvfp4_launch_args args{};
    args.size = sizeof args;
    args.m = kM;
    args.weights = stack.weights.as();
    args.global_scales = stack.scales.as<float>();
    args.activations = stack.activations.as();
    args.lda = stack.data.lda;
    args.bias = stack.bias.as();
    args.outputs = outputs.data();
    args.output_count = 3;
    args.workspace = workspace.as();
    args.workspace_bytes = bytes;
    REQUIRE(said(nvfp4_launch(gemm, &args, nullptr)) == "NVFP4_OK");
    std::vector<uint16_t> joined(kM * kN);
    int64_t first = 0;
    for (size_t i = 0; i < buffers.size(); ++i) {
      const auto part = download<uint16_t>(buffers[i]);
      for (int64_t m = 0; m < kM; ++m) {
        std::copy_n(&part[m * kParts[i]], kParts[i], &joined[m * kN + first]);
      }
      first += padded_rows(kParts[i]);
    }
    // The oracle knows one output: what lies in the gap is not asked for.
    const DeviceBuffer one(context.gpu, kM * kN * 2);
    const KernelConfig config{.block_n = 64, .block_m = 16};
    stack.run(stack.kernel(config, Outputs::one), config, nullptr, one.as(), OutputType::bf16);
    const auto wanted = download<uint16_t>(one);
    int wrong = 0;
    for (int64_t i = 0; i < kM * kN; ++i) {
      const int64_t row = i % kN;
      wrong += !(row >= 100 && row < 128) && joined[i] != wanted[i];
    }
    CHECK(wrong == 0);

    const std::string refused = "NVFP4_INVALID_ARGUMENT: ";
    args.output_count = 2;
    CHECK(said(nvfp4_launch(gemm, &args, nullptr)) == refused + "2 outputs for 3 parts");
    outputs[1].ldo = 63;
    args.output_count = 3;
    CHECK(said(nvfp4_launch(gemm, &args, nullptr)) ==
          refused + "outputs[1]: ldo = 63 is below its 64 columns or above 68719476736");
    args.output_count = 9;
    CHECK(said(nvfp4_launch(gemm, &args, nullptr)) == refused + "output_count = 9 exceeds 8");
    CHECK(nvfp4_gemm_destroy(gemm) == NVFP4_OK);
    problem.n = kN + 1;
    CHECK(said(nvfp4_prepare(context.handle, &problem, 1, kM, &gemm)) ==
          refused + "the parts make 222 rows, N is 223");
  }
}
