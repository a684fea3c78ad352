// SPDX-License-Identifier: Apache-2.0
// Mutants of the kernels that move weights between their forms, held against the host's packing and
// the value of every weight. The unchanged template passes first.
#include <cmath>
#include <cstring>
#include <random>

#include "runtime/numerics.h"
#include "runtime/pack.h"
#include "runtime/weight_kernels.h"
#include "tests/mutant_bench.h"

using namespace nvfp4;

namespace {

constexpr int64_t kN = 100, kK = 208;  // ragged tiles both ways
constexpr float kGlobal = 0.75f;

/// A matrix with every code and scale that there is, NaN left out, in both forms.
struct Matrix {
  Matrix() : codes(kN * kK / 2), scales(kN * kK / 16), packed(packed_bytes(kN, kK)) {
    std::mt19937 random(3);
    for (uint8_t& byte : codes) byte = static_cast<uint8_t>(random());
    for (uint8_t& scale : scales) {
      do scale = static_cast<uint8_t>(random());
      while (e4m3_is_nan(scale));
    }
    pack(codes, scales, kN, kK, packed, 1, "matrix");
    canonical_codes.resize(codes.size());
    canonical_scales.resize(scales.size());
    unpack(packed, kN, kK, canonical_codes, canonical_scales, 1, "matrix");
  }

  float value(int64_t row, int64_t col, float global) const {
    const uint8_t pair = codes[(row * kK + col) / 2];
    const float code = e2m1_value(static_cast<uint8_t>(col % 2 ? pair >> 4 : pair & 15));
    return code * e4m3_value(scales[(row * kK + col) / 16]) * global;
  }

  std::vector<uint8_t> codes, scales, packed, canonical_codes, canonical_scales;
};

template <class T>
DeviceBuffer on_device(const Gpu& gpu, const std::vector<T>& values) {
  DeviceBuffer buffer(gpu, values.size() * sizeof(T));
  buffer.upload(bytes_of(values));
  return buffer;
}

bool holds(const DeviceBuffer& buffer, const std::vector<uint8_t>& wanted) {
  std::vector<uint8_t> bytes(buffer.size());
  buffer.download(bytes_of(bytes));
  return bytes == wanted;
}

WeightsParams params_of(WeightType out) {
  return {.codes_stride = kK / 2,
          .scales_stride = kK / 16,
          .n = kN,
          .k = kK,
          .global_scale = kGlobal,
          .scale_type = WeightType::fp8_e4m3,
          .out_type = out};
}

/// The bits of a value in the type; zeros of either sign are one.
uint32_t bits_of(WeightType type, float value) {
  if (value == 0) value = 0;
  switch (type) {
    case WeightType::bf16:
      return bf16_bits(value);
    case WeightType::fp16:
      return fp16_bits(value);
    case WeightType::fp32:
      return std::bit_cast<uint32_t>(value);
    case WeightType::fp8_e4m3:
      return e4m3_code(value);
  }
  return 0;
}

/// What a dequantised matrix has wrong: "", or the first place.
std::string wrong_values(const Matrix& matrix, WeightType type, const DeviceBuffer& out,
                         float global) {
  const size_t size = out.size() / (kN * kK);
  std::vector<uint8_t> bytes(out.size());
  out.download(bytes_of(bytes));
  for (int64_t i = 0; i < kN * kK; ++i) {
    uint32_t got = 0;
    std::memcpy(&got, &bytes[i * size], size);
    const float value = matrix.value(i / kK, i % kK, global);
    const uint32_t sign = 1u << (8 * size - 1);
    if ((got & ~sign) == 0 && bits_of(type, std::abs(value)) == 0) continue;
    if (got != bits_of(type, value)) return fmt::format("weight {} is {:#x}", i, got);
  }
  return "";
}

/// "passed", or what condemned the kernels.
std::string judge(const Gpu& gpu, std::span<const TemplateFile> files) {
  static Compiler compiler = Compiler::open();
  static const Matrix matrix;
  const Compilation compiled =
      compiler.compile("#include \"weights.cuh\"\n", gpu.facts().arch, files);
  REQUIRE_MESSAGE(compiled.ok, compiled.log);
  const WeightKernels kernels(gpu, compiled.ptx);
  const DeviceBuffer codes = on_device(gpu, matrix.codes), scales = on_device(gpu, matrix.scales);

  DeviceBuffer packed(gpu, matrix.packed.size());
  packed.fill(std::byte{0xee});
  WeightsParams params = params_of(WeightType::bf16);
  params.packed = packed.as<unsigned char>();
  params.codes = codes.as<unsigned char>();
  params.scales = scales.as<unsigned char>();
  if (kernels.pack(params, nullptr)) return "a NaN that is not there";
  if (!holds(packed, matrix.packed)) return "packed bytes differ";
  std::vector<uint8_t> bad = matrix.scales;
  bad[17 * (kK / 16) + 3] = 0xff;
  bad[90 * (kK / 16)] = 0x7f;
  const DeviceBuffer bad_scales = on_device(gpu, bad);
  params.scales = bad_scales.as<unsigned char>();
  DeviceBuffer ignored(gpu, matrix.packed.size());
  params.packed = ignored.as<unsigned char>();
  if (kernels.pack(params, nullptr) != 17) return "the first NaN is not found";

  DeviceBuffer back(gpu, codes.size()), back_scales(gpu, scales.size());
  params.packed = packed.as<unsigned char>();
  params.codes = back.as<unsigned char>();
  params.scales = back_scales.as<unsigned char>();
  kernels.unpack(params, nullptr);
  gpu.check(gpu.driver().ctx_synchronize(), "cuCtxSynchronize");
  if (!holds(back, matrix.canonical_codes)) return "unpacked codes differ";
  if (!holds(back_scales, matrix.canonical_scales)) return "unpacked scales differ";

  // One global scale a row tile of the packed form, one in all of the checkpoint's.
  const DeviceBuffer globals = on_device(gpu, std::vector<float>{kGlobal, kGlobal});
  for (const WeightType type :
       {WeightType::bf16, WeightType::fp16, WeightType::fp32, WeightType::fp8_e4m3}) {
    const int64_t size = type == WeightType::fp32 ? 4 : type == WeightType::fp8_e4m3 ? 1 : 2;
    DeviceBuffer out(gpu, kN * kK * size);
    params = params_of(type);
    params.out = out.as();
    params.packed = packed.as<unsigned char>();
    params.global_scales = globals.as<float>();
    kernels.dequantize(params, nullptr);
    gpu.check(gpu.driver().ctx_synchronize(), "cuCtxSynchronize");
    if (auto why = wrong_values(matrix, type, out, kGlobal); !why.empty()) return "packed: " + why;
    out.fill(std::byte{0xee});
    params.packed = nullptr;
    params.codes = codes.as<unsigned char>();
    params.scales = scales.as<unsigned char>();
    kernels.dequantize(params, nullptr);
    gpu.check(gpu.driver().ctx_synchronize(), "cuCtxSynchronize");
    if (auto why = wrong_values(matrix, type, out, kGlobal); !why.empty())
      return "checkpoint: " + why;
  }
  return "passed";
}

struct WeightsMutant {
  std::string name;
  const char* from;
  const char* to;
};

const WeightsMutant kMutants[] = {
    {"codes of a word in another order", "at.byte(slot) * 8)) & 0xffu",
     "at.byte(slot ^ 2) * 8)) & 0xffu"},
    {"high code of a pair lost", "word |= (pair >> (bit + 4) & 1u)", "word |= (pair >> bit & 1u)"},
    {"tiles counted by whole ones only", "const int tiles_k = (params.k + kTileK - 1) / kTileK;",
     "const int tiles_k = params.k / kTileK;"},
    {"padding not cleared", "if (row < params.n && block < params.k / kBlockSize) {",
     "if (row < params.n) {"},
    {"NaN taken for a scale", "(code & 0x7fu) == 0x7fu) atomicMin", "code == 0x7fu) atomicMin"},
    {"last NaN instead of the first", "atomicMin(params.first_nan_row",
     "atomicMax(params.first_nan_row"},
    {"sign of a scale dropped", "codes ^ (code & 0x80u ? kSigns : 0)", "codes"},
    {"codes kept under a zero scale", "scale == 0 ? 0 : codes ^", "codes ^"},
    {"scales of another unit",
     "row / 16 * kUnitScaleBytes + scale_byte_position(row % 16, i % kRowBlocks)] =",
     "row / 32 * kUnitScaleBytes + scale_byte_position(row % 16, i % kRowBlocks)] ="},
    {"unpacked beyond the last row",
     "    if (row >= params.n || block >= params.k / kBlockSize) continue;\n    "
     "*reinterpret_cast<u64*>",
     "    if (block >= params.k / kBlockSize) continue;\n    *reinterpret_cast<u64*>"},
    {"subnormal scales too large", "static_cast<float>(magnitude) * 0x1p-9f",
     "static_cast<float>(magnitude) * 0x1p-8f"},
    {"sign of a weight lost", "| (code & 8u) << 28", ""},
    {"E4M3 rounded down", "(magnitude + 0x7ffffu + (magnitude >> 20 & 1u))", "magnitude"},
    {"ties away from even", "0x7ffffu + (magnitude >> 20 & 1u)", "0x80000u"},
    {"saturates too late", "magnitude >= 0x43e00000u", "magnitude >= 0x43f80000u"},
    {"global scale of the checkpoint's form twice", "combined ? 1.0f : params.global_scale",
     "params.global_scale * params.global_scale"},
};

}  // namespace

TEST_SUITE("mutants_weights") {
  TEST_CASE("the unchanged kernels give the host's bytes and the value of every weight") {
    const Gpu gpu = open_device("emulated:h100").gpu;
    CHECK(judge(gpu, template_files()) == "passed");
  }

  TEST_CASE("every mutant is condemned") {
    const auto driver = Driver::open(DriverSource::emulator);
    const auto reset =
        reinterpret_cast<decltype(&nvfp4_emulator_reset)>(driver->symbol("nvfp4_emulator_reset"));
    for (const WeightsMutant& mutant : kMutants) {
      std::string storage, outcome;
      const auto files = mutate("weights.cuh", mutant.from, mutant.to, storage);
      {
        const Gpu gpu = open_device("emulated:h100").gpu;
        try {
          outcome = judge(gpu, files);
        } catch (const CudaError& error) {
          outcome = error.what();
        }
      }
      reset();
      MESSAGE(mutant.name << " -> " << outcome.substr(0, 160));
      CHECK_MESSAGE(outcome != "passed", "lives: " << mutant.name);
    }
  }
}
