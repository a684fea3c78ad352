// SPDX-License-Identifier: Apache-2.0
// Whole kernels on the emulated device from recorded PTX, without a compiler: 192 x 336 weights
// (the last k tile is ragged), integer-exact data, every output compared bit for bit. Also the
// speed of the interpreter on such a kernel, with all checks on.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <bit>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include "generator/device.h"
#include "generator/launch_plan.h"
#include "runtime/emulator/half_float.h"
#include "runtime/emulator/machine.h"
#include "runtime/pack.h"
#include "templates/gemm_params.h"
#include "templates/packed_layout.h"
#include "tuner/reference.h"

namespace nvfp4::emulator {
namespace {

constexpr int kN = 192;
constexpr int kK = 336;

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

std::string recorded_text(const char* file) {
  std::ifstream stream(std::string(NVFP4_SOURCE_DIR "/tests/data/") + file);
  REQUIRE(stream.good());
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

// Small integers, power-of-two scales: every sum is exact in FP32.
struct Data {
  explicit Data(int m) : codes(kN * kK / 2), scales(kN * kK / 16), activations(m * kK) {
    std::mt19937 random(4);
    for (uint8_t& code : codes) code = static_cast<uint8_t>(random());
    for (uint8_t& scale : scales) scale = random() % 2 ? 0x38 : 0x40;  // 1 or 2
    for (uint16_t& a : activations)
      a = Bf16::narrow(static_cast<float>(static_cast<int>(random() % 15) - 7));
  }
  std::vector<uint8_t> codes;
  std::vector<uint8_t> scales;
  std::vector<uint16_t> activations;
};

class RecordedGemm {
 public:
  RecordedGemm(const KernelConfig& config, const std::string& ptx, int m) : m_(m), data_(m) {
    const Device& device = find_part("h100")->device;
    const Problem problem{.n = kN, .k = kK};
    const LaunchPlan plan = launch_plan(config, problem, m, device);
    std::vector<uint8_t> packed(packed_tiles(kN, kK) * kTileBytes);
    pack(data_.codes, data_.scales, kN, kK, packed, 1, "weights");
    const std::vector<float> global_scales(kN / 64, 1.0f);
    out_ = memory_.allocate(static_cast<size_t>(m) * kN * 4);
    const uint64_t workspace = memory_.allocate(plan.workspace_bytes + 16);
    std::memset(memory_.resolve(workspace, plan.counter_bytes + 16, true), 0,
                plan.counter_bytes + 16);
    GemmParams params{};
    params.weights = pointer(upload(packed.data(), packed.size()));
    params.activations = pointer(upload(data_.activations.data(), data_.activations.size() * 2));
    params.out = pointer(out_);
    params.global_scales =
        static_cast<const float*>(pointer(upload(global_scales.data(), global_scales.size() * 4)));
    params.workspace = pointer(workspace);
    params.lda = kK;
    params.ldo = kN;
    params.m = m;
    params.tiles_m = plan.tiles_m;
    params.out_type = OutputType::fp32;
    params.partials_offset = static_cast<unsigned>(plan.counter_bytes);
    request.program = Program::parse(ptx);
    request.entry = "nvfp4_gemm";
    request.grid = {static_cast<unsigned>(plan.grid), 1, 1};
    request.block = {static_cast<unsigned>(plan.threads), 1, 1};
    request.dynamic_smem = static_cast<unsigned>(plan.smem_bytes);
    request.params.resize(sizeof params);
    std::memcpy(request.params.data(), &params, sizeof params);
    request.variables = materialise_variables(*request.program, memory_);
  }

  LaunchResult run() { return emulator::run(request, memory_); }

  void check_output() {
    std::vector<int64_t> rows(kN);
    for (int i = 0; i < kN; ++i) rows[i] = i;
    const ReferenceSums sums = reference_sums(data_.activations, Activation::bf16, m_, kK,
                                              data_.codes, data_.scales, kK, rows, AbsSums::no, 1);
    const std::byte* out = memory_.resolve(out_, static_cast<size_t>(m_) * kN * 4, false);
    int wrong = 0;
    for (int i = 0; i < m_ * kN; ++i) {
      float got = 0;
      std::memcpy(&got, out + 4 * i, 4);
      wrong += got != static_cast<float>(sums.sums[i]);
    }
    CHECK(wrong == 0);
  }

  LaunchRequest request;

 private:
  uint64_t upload(const void* data, size_t bytes) {
    const uint64_t address = memory_.allocate(bytes);
    std::memcpy(memory_.resolve(address, bytes, true), data, bytes);
    return address;
  }
  static void* pointer(uint64_t address) { return reinterpret_cast<void*>(address); }

  int m_;
  Data data_;
  GlobalMemory memory_;
  uint64_t out_ = 0;
};

}  // namespace

TEST_CASE("recorded kernels for sm_80 and sm_90a give the exact product in any order of CTAs") {
  for (const Recording& recording : {kSm80, kSm90}) {
    for (const int m : {1, 13, 40}) {
      for (const uint64_t seed : {0, 9}) {
        INFO(recording.file << ", M = " << m << ", seed " << seed);
        RecordedGemm gemm(recording.config, recorded_text(recording.file), m);
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
  RecordedGemm gemm(kSm80.config, text, 13);
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
    RecordedGemm gemm(kSm80.config, replaced(text, mutation.from, mutation.to), 13);
    const LaunchResult result = gemm.run();
    REQUIRE(result.fault.has_value());
    CHECK((result.fault->kind == FaultKind::shared_race ||
           result.fault->kind == FaultKind::async_read_before_wait ||
           result.fault->kind == FaultKind::uninitialised_read));
  }
}

TEST_CASE("one host thread runs the main loop at a useful rate with all checks on") {
  RecordedGemm gemm(kSm80.config, recorded_text(kSm80.file), 16);
  gemm.request.threads = 1;
  int64_t instructions = 0;
  const auto start = std::chrono::steady_clock::now();
  while (instructions < 500'000) {
    const LaunchResult result = gemm.run();
    REQUIRE_FALSE(result.fault.has_value());
    instructions += result.warp_instructions;
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const double rate = static_cast<double>(instructions) / seconds.count() / 1e6;
  MESSAGE(fmt::format("{:.2f} million warp instructions a second", rate));
  CHECK(rate > 0.3);
}

}  // namespace nvfp4::emulator
