// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "generator/problem.h"
#include "runtime/numerics.h"
#include "runtime/pack.h"
#include "runtime/quantize.h"
#include "tests/abi_fixture.h"

using namespace nvfp4;

namespace {

/// Random checkpoint bytes: every code, every scale that is a number.
struct Matrix {
  Matrix(int64_t rows, int64_t columns, unsigned seed)
      : n(rows), k(columns), codes(n * k / 2), scales(n * k / 16) {
    std::mt19937 random(seed);
    for (uint8_t& byte : codes) byte = static_cast<uint8_t>(random());
    for (uint8_t& byte : scales) {
      do byte = static_cast<uint8_t>(random());
      while (e4m3_is_nan(byte));
    }
  }

  nvfp4_part part(float global_scale = 1) const {
    nvfp4_part part{};
    part.size = sizeof part;
    part.n = n;
    part.codes = codes.data();
    part.scales = scales.data();
    part.global_scale = global_scale;
    return part;
  }

  int64_t n, k;
  std::vector<uint8_t> codes, scales;
};

struct Packed {
  std::vector<uint8_t> bytes;
  std::vector<float> scales;
  nvfp4_packed_info info{.size = sizeof info};
};

Packed sized(const std::vector<int64_t>& rows, int64_t k) {
  Packed packed;
  REQUIRE(said(nvfp4_packed_size(rows.data(), rows.size(), k, &packed.info)) == "NVFP4_OK");
  packed.bytes.resize(packed.info.packed_bytes, 0xee);
  packed.scales.resize(packed.info.global_scales, -1);
  return packed;
}

nvfp4_status pack_stack(const std::vector<nvfp4_part>& parts, int64_t k, Packed& packed) {
  return nvfp4_pack(parts.data(), parts.size(), k, 2, packed.bytes.data(), packed.bytes.size(),
                    packed.scales.data(), packed.scales.size());
}

}  // namespace

TEST_SUITE("abi_weights") {
  TEST_CASE("one matrix packs to the bytes of the library's own pack, and back") {
    const Matrix matrix(100, 80, 1);
    Packed packed = sized({100}, 80);
    CHECK(packed.info.rows == 100);
    CHECK(packed.scales.size() == 2);
    REQUIRE(pack_stack({matrix.part(0.5f)}, 80, packed) == NVFP4_OK);
    std::vector<uint8_t> expected(packed.bytes.size());
    pack(matrix.codes, matrix.scales, 100, 80, expected, 1, "weights");
    CHECK(packed.bytes == expected);
    CHECK(packed.scales == std::vector<float>{0.5f, 0.5f});

    std::vector<uint8_t> codes(matrix.codes.size()), scales(matrix.scales.size());
    REQUIRE(nvfp4_unpack(packed.bytes.data(), packed.bytes.size(), 100, 80, 0, 100, 1, codes.data(),
                         scales.data()) == NVFP4_OK);
    std::vector<uint8_t> again(packed.bytes.size());
    pack(codes, scales, 100, 80, again, 1, "weights");
    CHECK(again == expected);
  }

  TEST_CASE("parts of a stack start on 64 rows, keep their global scales and unpack one by one") {
    const Matrix q(100, 64, 1), k(64, 64, 2), v(30, 64, 3);
    Packed packed = sized({100, 64, 30}, 64);
    CHECK(packed.info.rows == 128 + 64 + 30);
    REQUIRE(pack_stack({q.part(1), k.part(2), v.part(4)}, 64, packed) == NVFP4_OK);
    CHECK(packed.scales == std::vector<float>{1, 1, 2, 4});
    int64_t row = 0;
    for (const Matrix* matrix : {&q, &k, &v}) {
      Packed alone = sized({matrix->n}, 64);
      REQUIRE(pack_stack({matrix->part()}, 64, alone) == NVFP4_OK);
      const auto* begin = packed.bytes.data() + row / 64 * 2304;
      CHECK(std::memcmp(begin, alone.bytes.data(), alone.bytes.size()) == 0);
      std::vector<uint8_t> codes(matrix->codes.size()), scales(matrix->scales.size());
      CHECK(nvfp4_unpack(packed.bytes.data(), packed.bytes.size(), packed.info.rows, 64, row,
                         matrix->n, 1, codes.data(), scales.data()) == NVFP4_OK);
      row += (matrix->n + 63) / 64 * 64;
    }
  }

  TEST_CASE("an array of parts of a later header goes by their size") {
    struct LaterPart {
      nvfp4_part part;
      uint64_t added;
    };
    const Matrix q(64, 64, 1), k(64, 64, 2);
    LaterPart parts[] = {{q.part(), 0}, {k.part(2), 0}};
    for (LaterPart& later : parts) later.part.size = sizeof later;
    Packed expected = sized({64, 64}, 64), packed = sized({64, 64}, 64);
    REQUIRE(pack_stack({q.part(), k.part(2)}, 64, expected) == NVFP4_OK);
    const auto pack_later = [&] {
      return nvfp4_pack(&parts[0].part, 2, 64, 1, packed.bytes.data(), packed.bytes.size(),
                        packed.scales.data(), packed.scales.size());
    };
    REQUIRE(said(pack_later()) == "NVFP4_OK");
    CHECK(packed.bytes == expected.bytes);
    CHECK(packed.scales == expected.scales);
    parts[1].part.size = sizeof(nvfp4_part);
    CHECK(said(pack_later()) ==
          "NVFP4_INVALID_ARGUMENT: parts[1]->size is 64, parts[0]'s is 72");
    parts[1].part.size = sizeof(LaterPart);
    parts[1].added = 1;
    CHECK(pack_later() == NVFP4_INVALID_ARGUMENT);
  }

  TEST_CASE("shards along N and K are parts with strides, and equal shards of the numbers") {
    const Matrix whole(192, 256, 4);
    // Rows [64, 192), columns [96, 256).
    nvfp4_part part = whole.part();
    part.n = 128;
    part.codes = whole.codes.data() + 64 * 128 + 96 / 2;
    part.scales = whole.scales.data() + 64 * 16 + 96 / 16;
    part.codes_stride = 128;
    part.scales_stride = 16;
    Packed packed = sized({128}, 160);
    REQUIRE(pack_stack({part}, 160, packed) == NVFP4_OK);
    std::vector<uint8_t> all(packed_bytes(192, 256));
    pack(whole.codes, whole.scales, 192, 256, all, 1, "whole");
    for (int64_t row = 0; row < 128; row += 7) {
      for (int64_t k = 0; k < 160; ++k) {
        CHECK(decode_packed_weight(packed.bytes, 128, 160, row, k) ==
              decode_packed_weight(all, 192, 256, row + 64, k + 96));
      }
    }
  }

  TEST_CASE("the device packs and unpacks to the host's bytes") {
    const AbiContext context;
    const Matrix a(70, 80, 5), b(65, 80, 6);
    Packed host = sized({70, 65}, 80);
    REQUIRE(pack_stack({a.part(2), b.part(8)}, 80, host) == NVFP4_OK);

    const DeviceBuffer codes[2] = {upload(context.gpu, a.codes), upload(context.gpu, b.codes)};
    const DeviceBuffer block_scales[2] = {upload(context.gpu, a.scales),
                                          upload(context.gpu, b.scales)};
    std::vector<nvfp4_part> parts = {a.part(2), b.part(8)};
    for (int i = 0; i < 2; ++i) {
      parts[i].codes = codes[i].as();
      parts[i].scales = block_scales[i].as();
    }
    const DeviceBuffer bytes(context.gpu, host.bytes.size());
    const DeviceBuffer scales(context.gpu, host.scales.size() * 4);
    REQUIRE(said(nvfp4_pack_on_device(context.handle, parts.data(), 2, 80, bytes.as(), bytes.size(),
                                      scales.as<float>(), host.scales.size(), nullptr)) ==
            "NVFP4_OK");
    CHECK(download<uint8_t>(bytes) == host.bytes);
    CHECK(download<float>(scales) == host.scales);

    std::vector<uint8_t> codes_back(b.codes.size()), scales_back(b.scales.size());
    REQUIRE(nvfp4_unpack(host.bytes.data(), host.bytes.size(), host.info.rows, 80, 128, 65, 1,
                         codes_back.data(), scales_back.data()) == NVFP4_OK);
    const DeviceBuffer device_codes(context.gpu, b.codes.size());
    const DeviceBuffer device_scales(context.gpu, b.scales.size());
    REQUIRE(said(nvfp4_unpack_on_device(context.handle, bytes.as(), bytes.size(), host.info.rows,
                                        80, 128, 65, device_codes.as(), device_scales.as(),
                                        nullptr)) == "NVFP4_OK");
    CHECK(download<uint8_t>(device_codes) == codes_back);
    CHECK(download<uint8_t>(device_scales) == scales_back);
  }

  TEST_CASE("every scale byte times every code dequantises to its number in every type") {
    const AbiContext context;
    constexpr int64_t n = 256, k = 16;
    std::vector<uint8_t> codes(n * k / 2), scales(n);
    for (int row = 0; row < n; ++row) {
      const bool nan = e4m3_is_nan(static_cast<uint8_t>(row));
      scales[row] = static_cast<uint8_t>(nan ? 0 : row);
      for (int i = 0; i < 8; ++i)
        codes[row * 8 + i] = static_cast<uint8_t>(2 * i | (2 * i + 1) << 4);
    }
    std::vector<float> expected(n * k), combined(n);
    for (int row = 0; row < n; ++row) combined[row] = e4m3_value(scales[row]) * 0.25f;
    decode_row(codes, scales, expected);
    for (float& weight : expected) weight *= 0.25f;

    std::vector<uint8_t> packed(packed_bytes(n, k));
    pack(codes, scales, n, k, packed, 1, "weights");
    const DeviceBuffer device_packed = upload(context.gpu, packed);
    const DeviceBuffer device_globals = upload(context.gpu, std::vector<float>(n / 64, 0.25f));
    const DeviceBuffer device_codes = upload(context.gpu, codes);
    const DeviceBuffer device_scales = upload(context.gpu, scales);
    const DeviceBuffer device_combined = upload(context.gpu, combined);
    const DeviceBuffer out(context.gpu, n * k * 4);

    const auto compare = [&](nvfp4_dequantize_args args, nvfp4_dtype type) {
      args.out_type = type;
      REQUIRE(said(nvfp4_dequantize(context.handle, &args, nullptr)) == "NVFP4_OK");
      const auto bytes = download<uint8_t>(out);
      int wrong = 0;
      for (int64_t i = 0; i < n * k; ++i) {
        uint32_t bits = 0, wanted = 0;
        const int size = type == NVFP4_FP32 ? 4 : type == NVFP4_FP8_E4M3 ? 1 : 2;
        std::memcpy(&bits, &bytes[i * size], size);
        switch (type) {
          case NVFP4_BF16:
            wanted = bf16_bits(expected[i]);
            break;
          case NVFP4_FP16:
            wanted = fp16_bits(expected[i]);
            break;
          case NVFP4_FP32:
            wanted = std::bit_cast<uint32_t>(expected[i]);
            break;
          case NVFP4_FP8_E4M3:
            wanted = e4m3_code(expected[i]);
            break;
        }
        // The packed form has one zero; the checkpoint's may be negative.
        const bool zeros = expected[i] == 0 && (bits & ((1u << (8 * size - 1)) - 1)) == 0;
        wrong += bits != wanted && !zeros;
      }
      CHECK(wrong == 0);
    };
    nvfp4_dequantize_args args{};
    args.size = sizeof args;
    args.n = n;
    args.k = k;
    args.out = out.as();
    for (const nvfp4_dtype type : {NVFP4_BF16, NVFP4_FP16, NVFP4_FP32, NVFP4_FP8_E4M3}) {
      nvfp4_dequantize_args from = args;
      from.packed = device_packed.as();
      from.global_scales = device_globals.as<float>();
      compare(from, type);
      from = args;
      from.codes = device_codes.as();
      from.scales = device_scales.as();
      from.scale_type = NVFP4_FP8_E4M3;
      from.global_scale = 0.25f;
      compare(from, type);
      from.scales = device_combined.as();
      from.scale_type = NVFP4_FP32;
      compare(from, type);
    }
  }

  TEST_CASE("FP8 outputs round to nearest even and clamp, as the host's do") {
    const AbiContext context;
    // 2048 scales over all binades of FP8 and beyond, times eight magnitudes.
    constexpr int64_t n = 2048, k = 16;
    std::vector<uint8_t> codes(n * k / 2);
    std::vector<float> scales(n);
    for (int row = 0; row < n; ++row) {
      scales[row] = std::ldexp(1.0f + static_cast<float>(row % 97) / 97, row % 24 - 14);
      for (int i = 0; i < 8; ++i)
        codes[row * 8 + i] = static_cast<uint8_t>(2 * i | (2 * i + 1) << 4);
    }
    const DeviceBuffer device_codes = upload(context.gpu, codes);
    const DeviceBuffer device_scales = upload(context.gpu, scales);
    const DeviceBuffer out(context.gpu, n * k);
    nvfp4_dequantize_args args{};
    args.size = sizeof args;
    args.n = n;
    args.k = k;
    args.codes = device_codes.as();
    args.scales = device_scales.as();
    args.scale_type = NVFP4_FP32;
    args.out = out.as();
    args.out_type = NVFP4_FP8_E4M3;
    REQUIRE(nvfp4_dequantize(context.handle, &args, nullptr) == NVFP4_OK);
    const auto bytes = download<uint8_t>(out);
    int wrong = 0;
    for (int64_t i = 0; i < n * k; ++i) {
      wrong += bytes[i] != e4m3_code(e2m1_value(static_cast<uint8_t>(i % 16)) * scales[i / 16]);
    }
    CHECK(wrong == 0);
  }

  TEST_CASE("quantised with a power of two, every weight is exact in bf16") {
    std::mt19937 random(3);
    std::normal_distribution<float> normal(0, 0.02f);
    std::vector<float> weights(32 * 64);
    for (float& weight : weights) weight = normal(random);
    QuantizedMatrix matrix{.n = 32, .k = 64};
    matrix.codes.resize(32 * 32);
    matrix.scales.resize(32 * 4);
    REQUIRE(nvfp4_quantize(weights.data(), 32, 64, 1, matrix.codes.data(), matrix.scales.data(),
                           &matrix.global_scale) == NVFP4_OK);
    int exponent = 0;
    CHECK(std::frexp(matrix.global_scale, &exponent) == 0.5f);
    const float exact = quantize(weights, 32, 64).global_scale;
    CHECK(matrix.global_scale >= exact);
    CHECK(matrix.global_scale < 2 * exact);
    for (const float weight : dequantize(matrix)) CHECK(bf16_value(bf16_bits(weight)) == weight);
  }

  TEST_CASE("weights without a packed form are refused with the part's name and place") {
    const AbiContext context;
    Matrix matrix(70, 64, 7);
    matrix.scales[66 * 4 + 1] = 0xff;
    Packed packed = sized({70}, 64);
    nvfp4_part part = matrix.part();
    part.name = "layers.0.up";
    CHECK(said(pack_stack({part}, 64, packed)) ==
          "NVFP4_BAD_DATA: layers.0.up: block scale 0xff at row 66, block 1 is NaN");
    const DeviceBuffer codes = upload(context.gpu, matrix.codes);
    const DeviceBuffer block_scales = upload(context.gpu, matrix.scales);
    const DeviceBuffer bytes(context.gpu, packed.bytes.size());
    const DeviceBuffer scales(context.gpu, packed.scales.size() * 4);
    nvfp4_part on_device = part;
    on_device.codes = codes.as();
    on_device.scales = block_scales.as();
    CHECK(said(nvfp4_pack_on_device(context.handle, &on_device, 1, 64, bytes.as(), bytes.size(),
                                    scales.as<float>(), 2, nullptr)) ==
          "NVFP4_BAD_DATA: layers.0.up: a block scale of row 66 is NaN");
    for (const float bad : {0.0f, -1.0f, std::numeric_limits<float>::infinity(), std::nanf("")}) {
      part.global_scale = bad;
      CHECK(said(pack_stack({part}, 64, packed))
                .starts_with("NVFP4_BAD_DATA: layers.0.up: the global scale is "));
    }
  }

  TEST_CASE("sizes and ranges that do not fit are refused by name, with both numbers") {
    const Matrix matrix(64, 64, 8);
    Packed packed = sized({64}, 64);
    const std::string refused = "NVFP4_INVALID_ARGUMENT: ";
    const nvfp4_part good = matrix.part();
    CHECK(said(nvfp4_pack(&good, 1, 64, 1, packed.bytes.data(), 2303, packed.scales.data(), 1)) ==
          refused + "packed_bytes = 2303 where 2304 are needed");
    CHECK(said(nvfp4_pack(&good, 1, 64, -1, packed.bytes.data(), 2304, packed.scales.data(), 1)) ==
          refused + "threads = -1 is below 0");
    CHECK(said(nvfp4_pack(nullptr, 1, 64, 1, packed.bytes.data(), 2304, packed.scales.data(), 1)) ==
          refused + "parts is null");
    CHECK(said(nvfp4_pack(&good, 9, 64, 1, packed.bytes.data(), 2304, packed.scales.data(), 1)) ==
          refused + "9 parts: a stack has 1 to 8");
    nvfp4_part bad = good;
    bad.codes_stride = 31;
    CHECK(said(pack_stack({bad}, 64, packed)) ==
          refused + "part 0: codes_stride = 31 is below K / 2 = 32");
    bad = good;
    bad.n = INT64_MAX;
    CHECK(said(pack_stack({bad}, 64, packed)).starts_with(refused + "N = 9223372036854775807"));
    nvfp4_packed_info info{.size = sizeof info};
    const int64_t rows[] = {1 << 22, 1 << 22};
    CHECK(said(nvfp4_packed_size(rows, 2, 64, &info)) == refused + "N = 8388608 exceeds 4194304");
    CHECK(said(nvfp4_packed_size(rows, 0, 64, &info)) == refused + "0 parts: a stack has 1 to 8");
    std::vector<uint8_t> codes(2048), scales(256);
    CHECK(nvfp4_unpack(packed.bytes.data(), 2304, 64, 64, 32, 32, 1, codes.data(), scales.data()) ==
          NVFP4_INVALID_ARGUMENT);
    CHECK(nvfp4_unpack(packed.bytes.data(), 2304, 64, 64, 0, 65, 1, codes.data(), scales.data()) ==
          NVFP4_INVALID_ARGUMENT);
  }
}
