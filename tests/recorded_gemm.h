// SPDX-License-Identifier: Apache-2.0
// A whole kernel on the emulated device from recorded PTX, without a compiler: 192 x 336 weights
// (the last k tile is ragged), integer-exact data, every output compared bit for bit.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "generator/launch_plan.h"
#include "runtime/emulator/half_float.h"
#include "runtime/emulator/machine.h"
#include "runtime/emulator/tensor_map.h"
#include "runtime/pack.h"
#include "templates/gemm_params.h"
#include "templates/packed_layout.h"
#include "tuner/reference.h"

namespace nvfp4::emulator {

constexpr int kN = 192;
constexpr int kK = 336;

inline std::string recorded_text(const char* file) {
  std::ifstream stream(std::string(NVFP4_SOURCE_DIR "/tests/data/") + file);
  REQUIRE(stream.good());
  return {std::istreambuf_iterator<char>(stream), {}};
}

inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

// Small integers, power-of-two scales: every sum is exact in FP32.
struct RecordedData {
  explicit RecordedData(int m) : codes(kN * kK / 2), scales(kN * kK / 16), activations(m * kK) {
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
  RecordedGemm(const LaunchPlan& plan, const std::string& ptx, int m) : m_(m), data_(m) {
    std::vector<uint8_t> packed(packed_tiles(kN, kK) * kTileBytes);
    pack(data_.codes, data_.scales, kN, kK, packed, 1, "weights");
    const std::vector<float> global_scales(kN / 64, 1.0f);
    out_ = memory_.allocate(static_cast<size_t>(m) * kN * 4);
    const uint64_t workspace = memory_.allocate(plan.workspace_bytes + 16);
    std::memset(memory_.resolve(workspace, plan.counter_bytes + 16, true), 0,
                plan.counter_bytes + 16);
    GemmParams params{};
    params.weights = pointer(upload(packed.data(), packed.size()));
    const uint64_t activations = upload(data_.activations.data(), data_.activations.size() * 2);
    params.activations = pointer(activations);
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
    request.params.resize(plan.box_tokens > 0 ? kMapOffset + TensorMap::kBytes : sizeof params);
    std::memcpy(request.params.data(), &params, sizeof params);
    if (plan.box_tokens > 0) {
      request.cluster = {static_cast<unsigned>(plan.cluster), 1, 1};
      TensorMap map{.address = activations,
                    .size = {kK, static_cast<uint64_t>(m)},
                    .stride = {2, kK * 2},
                    .box = {kTileK, static_cast<uint16_t>(plan.box_tokens)},
                    .step = {1, 1},
                    .rank = 2,
                    .element_bytes = 2,
                    .swizzle_bytes = 128};
      map.encode(request.params.data() + kMapOffset);
    }
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
  static constexpr size_t kMapOffset = 128;  // of the second parameter, 64-byte aligned

  uint64_t upload(const void* data, size_t bytes) {
    const uint64_t address = memory_.allocate(bytes);
    std::memcpy(memory_.resolve(address, bytes, true), data, bytes);
    return address;
  }
  static void* pointer(uint64_t address) { return reinterpret_cast<void*>(address); }

  int m_;
  RecordedData data_;
  GlobalMemory memory_;
  uint64_t out_ = 0;
};

}  // namespace nvfp4::emulator
