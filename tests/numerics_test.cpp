// SPDX-License-Identifier: Apache-2.0
// Every code of every format, and every rounding boundary between two neighbours.
#include "runtime/numerics.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace nvfp4;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Checks the conversion `to_code` at, just below and just above the midpoint of each two
/// neighbours among the positive codes 0 .. last, and the same negated with the sign bit `sign`.
template <typename ToCode, typename ToValue>
void check_rounding(int last, int sign, const ToCode& to_code, const ToValue& to_value) {
  int wrong = 0;
  for (int code = 0; code < last; ++code) {
    const float low = to_value(code);
    const float high = to_value(code + 1);
    const float middle = static_cast<float>((static_cast<double>(low) + high) / 2);
    REQUIRE(static_cast<double>(middle) * 2 == static_cast<double>(low) + high);
    const int even = code % 2 == 0 ? code : code + 1;
    wrong += to_code(low) != code;
    wrong += to_code(-low) != (code | sign);
    wrong += to_code(middle) != even;
    wrong += to_code(-middle) != (even | sign);
    wrong += to_code(std::nextafter(middle, -kInf)) != code;
    wrong += to_code(std::nextafter(middle, kInf)) != code + 1;
    wrong += to_code(-std::nextafter(middle, kInf)) != ((code + 1) | sign);
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_SUITE("numerics") {
  TEST_CASE("the sixteen E2M1 codes have their values") {
    const float values[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    for (int code = 0; code < 8; ++code) {
      CHECK(e2m1_value(static_cast<uint8_t>(code)) == values[code]);
      CHECK(e2m1_value(static_cast<uint8_t>(code | 8)) == -values[code]);
    }
    CHECK(std::signbit(e2m1_value(8)));
  }

  TEST_CASE("every E4M3 code is (1 + m/8) 2^(e-7), m/8 2^-6 below, NaN at the end") {
    for (int code = 0; code < 256; ++code) {
      const int exponent = code / 8 % 16;
      const int mantissa = code % 8;
      const float value = e4m3_value(static_cast<uint8_t>(code));
      if (code % 128 == 127) {
        CHECK(std::isnan(value));
        CHECK(e4m3_is_nan(static_cast<uint8_t>(code)));
        continue;
      }
      CHECK_FALSE(e4m3_is_nan(static_cast<uint8_t>(code)));
      const double magnitude = exponent == 0 ? std::ldexp(mantissa / 8.0, -6)
                                             : std::ldexp(1 + mantissa / 8.0, exponent - 7);
      CHECK(std::fabs(value) == magnitude);
      CHECK(std::signbit(value) == (code >= 128));
    }
    CHECK(e4m3_value(0x7e) == kE4m3Max);
  }

  TEST_CASE("conversions to E2M1 round to nearest even and saturate at 6") {
    check_rounding(7, 8, e2m1_code,
                   [](int code) { return e2m1_value(static_cast<uint8_t>(code)); });
    CHECK(e2m1_code(6.01f) == 7);
    CHECK(e2m1_code(kInf) == 7);
    CHECK(e2m1_code(-kInf) == 15);
    CHECK(e2m1_code(kNan) == 7);
    CHECK(e2m1_code(-0.0f) == 8);
    CHECK(e2m1_code(1e-42f) == 0);
  }

  TEST_CASE("conversions to E4M3 round to nearest even and saturate at 448") {
    check_rounding(0x7e, 0x80, e4m3_code,
                   [](int code) { return e4m3_value(static_cast<uint8_t>(code)); });
    CHECK(e4m3_code(1e9f) == 0x7e);
    CHECK(e4m3_code(-kInf) == 0xfe);
    CHECK(e4m3_code(kNan) == 0x7f);
    CHECK(e4m3_code(0x1p-10f) == 0);  // half the least subnormal ties to zero
    CHECK(e4m3_code(0x1.02p-10f) == 1);
  }

  TEST_CASE("every bf16 and fp16 number survives a round trip through float") {
    int wrong = 0;
    for (int bits = 0; bits < 65536; ++bits) {
      const auto half = static_cast<uint16_t>(bits);
      const bool bf16_nan = (bits & 0x7fff) > 0x7f80;
      const bool fp16_nan = (bits & 0x7fff) > 0x7c00;
      wrong += bf16_bits(bf16_value(half)) != (bf16_nan ? 0x7fff : half);
      wrong += fp16_bits(fp16_value(half)) != (fp16_nan ? 0x7fff : half);
      wrong += std::isnan(bf16_value(half)) != bf16_nan;
      wrong += std::isnan(fp16_value(half)) != fp16_nan;
    }
    CHECK(wrong == 0);
  }

  TEST_CASE("fp16 values follow the definition of the format") {
    CHECK(fp16_value(0x0001) == 0x1p-24f);
    CHECK(fp16_value(0x03ff) == 1023 * 0x1p-24f);
    CHECK(fp16_value(0x0400) == 0x1p-14f);
    CHECK(fp16_value(0x3c01) == 1 + 0x1p-10f);
    CHECK(fp16_value(0x7bff) == 65504);
    CHECK(fp16_value(0xfc00) == -kInf);
  }

  TEST_CASE("conversions to bf16 and fp16 round to nearest even at every boundary") {
    check_rounding(0x7f7f, 0x8000, bf16_bits,
                   [](int bits) { return bf16_value(static_cast<uint16_t>(bits)); });
    check_rounding(0x7bff, 0x8000, fp16_bits,
                   [](int bits) { return fp16_value(static_cast<uint16_t>(bits)); });
  }

  TEST_CASE("overflow goes to Inf in fp16 and bf16 from the midpoint on") {
    CHECK(fp16_bits(65519.99f) == 0x7bff);
    CHECK(fp16_bits(65520.0f) == 0x7c00);
    CHECK(fp16_bits(-1e30f) == 0xfc00);
    CHECK(fp16_bits(kInf) == 0x7c00);
    CHECK(bf16_bits(std::numeric_limits<float>::max()) == 0x7f80);
    CHECK(bf16_bits(-kInf) == 0xff80);
    CHECK(fp16_bits(kNan) == 0x7fff);
    CHECK(bf16_bits(kNan) == 0x7fff);
  }

  TEST_CASE("conversions can be evaluated by the compiler") {
    static_assert(e4m3_code(1.0f) == 0x38);
    static_assert(e2m1_code(5.0f) == 6);
    static_assert(fp16_bits(1.0f) == 0x3c00);
    static_assert(bf16_bits(1.0f) == 0x3f80);
    static_assert(fp16_value(0x3c00) == 1.0f);
  }
}
