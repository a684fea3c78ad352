// SPDX-License-Identifier: Apache-2.0
// 16-bit floating point of the emulated device against one correct rounding of the exact result.
// The reference works on long double, which holds every product exactly, and rounds by searching
// the two neighbours, nothing like the code it checks.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>

#include "runtime/emulator/half_float.h"
#include "tests/emulator_kernel.h"

namespace nvfp4::emulator {
namespace {

// Value of a finite 16-bit pattern by its definition: sign, exponent, mantissa.
long double value_of(uint16_t bits, int mantissa_bits, int bias) {
  const int exponent = (bits & 0x7fff) >> mantissa_bits;
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const long double magnitude =
      exponent == 0 ? std::ldexp(static_cast<long double>(mantissa), 1 - bias - mantissa_bits)
                    : std::ldexp(static_cast<long double>(mantissa + (1 << mantissa_bits)),
                                 exponent - bias - mantissa_bits);
  return bits & 0x8000 ? -magnitude : magnitude;
}

// The nearest pattern to a finite `exact`, ties to even; infinity from half a unit beyond the
// largest.
uint16_t nearest(long double exact, int mantissa_bits, int bias) {
  const uint16_t infinity = static_cast<uint16_t>(0x7fff >> mantissa_bits << mantissa_bits);
  const long double magnitude = std::fabs(exact);
  uint16_t low = 0;
  uint16_t high = infinity;
  while (high - low > 1) {
    const auto middle = static_cast<uint16_t>((low + high) / 2);
    (value_of(middle, mantissa_bits, bias) <= magnitude ? low : high) = middle;
  }
  const long double below = value_of(low, mantissa_bits, bias);
  const long double above =
      high == infinity ? 2 * value_of(static_cast<uint16_t>(infinity - 1), mantissa_bits, bias) -
                             value_of(static_cast<uint16_t>(infinity - 2), mantissa_bits, bias)
                       : value_of(high, mantissa_bits, bias);
  const long double down = magnitude - below;
  const long double up = above - magnitude;
  const uint16_t chosen = down < up || (down == up && low % 2 == 0) ? low : high;
  return static_cast<uint16_t>(chosen | (std::signbit(exact) ? 0x8000 : 0));
}

struct FormatFacts {
  int mantissa_bits;
  int bias;
};
constexpr FormatFacts kBf16{7, 127};
constexpr FormatFacts kFp16{10, 15};

std::vector<uint16_t> interesting(FormatFacts f) {
  std::vector<uint16_t> bits;
  std::mt19937 random(1);
  const int infinity = 0x7fff >> f.mantissa_bits << f.mantissa_bits;
  for (int b :
       {0, 1, 2, 3, (1 << f.mantissa_bits) - 1, 1 << f.mantissa_bits, infinity - 1, infinity - 2})
    bits.push_back(b);
  while (bits.size() < 120) {
    const int b = static_cast<int>(random() & 0x7fff);
    if (b < infinity) bits.push_back(static_cast<uint16_t>(b));
  }
  const size_t half = bits.size();
  for (size_t i = 0; i < half; ++i) bits.push_back(bits[i] | 0x8000);
  return bits;
}

template <class Format>
void check_format(FormatFacts f) {
  const auto round = [&](long double x) { return nearest(x, f.mantissa_bits, f.bias); };
  const auto value = [&](uint16_t b) { return value_of(b, f.mantissa_bits, f.bias); };
  const auto patterns = interesting(f);
  std::mt19937 random(2);
  for (uint16_t a : patterns) {
    for (uint16_t b : patterns) {
      // Zero results carry signs that value_of does not follow through sums; products do.
      CHECK(half_multiply<Format>(a, b) == round(value(a) * value(b)));
      if (value(a) + value(b) != 0) {
        // Sums of bf16 may span more than the 64 bits of long double: skip those the reference
        // cannot do.
        const long double sum = value(a) + value(b);
        if (sum - value(a) == value(b) && sum - value(b) == value(a)) {
          CHECK(half_add<Format>(a, b) == round(sum));
        }
      }
      const uint16_t c = patterns[random() % patterns.size()];
      const long double product = value(a) * value(b);
      const long double sum = product + value(c);
      if (sum != 0 && sum - product == value(c) && sum - value(c) == product) {
        CHECK(half_fma<Format>(a, b, c) == round(sum));
      }
    }
  }
}

constexpr uint16_t kOneFp16 = 0x3c00;

}  // namespace

TEST_CASE("every fp16 and bf16 pattern survives widening and narrowing") {
  for (int b = 0; b < 0x10000; ++b) {
    const auto bits = static_cast<uint16_t>(b);
    const bool fp16_nan = (bits & 0x7fff) > 0x7c00;
    const bool bf16_nan = (bits & 0x7fff) > 0x7f80;
    REQUIRE(Fp16::narrow(Fp16::widen(bits)) == (fp16_nan ? 0x7fff : bits));
    REQUIRE(Bf16::narrow(Bf16::widen(bits)) == (bf16_nan ? 0x7fff : bits));
    if (!fp16_nan && (bits & 0x7fff) != 0x7c00)
      REQUIRE(Fp16::widen(bits) == static_cast<float>(value_of(bits, 10, 15)));
  }
}

TEST_CASE("narrowing a float rounds to nearest even at every fp16 and bf16 boundary") {
  for (uint32_t high = 0; high < 0x7f80; ++high) {
    for (uint32_t low : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const float value = std::bit_cast<float>(high << 16 | low);
      REQUIRE(Bf16::narrow(value) == nearest(value, 7, 127));
      REQUIRE(Bf16::narrow(-value) == nearest(-static_cast<long double>(value), 7, 127));
    }
  }
  for (uint32_t bits = 0x33000000u - 4; bits < 0x47800000u; bits += 0x7ffu) {
    const float value = std::bit_cast<float>(bits);
    REQUIRE(Fp16::narrow(value) == nearest(value, 10, 15));
  }
  CHECK(Fp16::narrow(65519.0f) == 0x7bff);
  CHECK(Fp16::narrow(65520.0f) == 0x7c00);
}

TEST_CASE("bf16 products, sums and fused multiply-adds round once") { check_format<Bf16>(kBf16); }

TEST_CASE("fp16 products, sums and fused multiply-adds round once") { check_format<Fp16>(kFp16); }

TEST_CASE("a fused multiply-add sees a bit beyond the width of a double") {
  // The product 2^-48 lies far below 1's last bit and must not move it.
  const uint16_t tiny = 0x0001;  // 2^-24
  CHECK(half_fma<Fp16>(tiny, tiny, kOneFp16) == kOneFp16);
  // bf16: 1 + 2^-8 is a tie between 1 and 1 + 2^-7; 1 + 2^-7 + 2^-8 + 2^-15 is just above one.
  const uint16_t one = 0x3f80;
  const uint16_t odd = 0x3f81;        // 1 + 2^-7
  const uint16_t half_unit = 0x3b80;  // 2^-8
  CHECK(half_fma<Bf16>(half_unit, one, one) == one);
  CHECK(half_fma<Bf16>(half_unit, odd, one) == odd);
}

TEST_CASE("packed instructions treat their halves apart and keep the sign of zero") {
  KernelRun kernel;
  kernel.body = R"(mov.b32 %r10, 0xc0003f80;  // bf16 {1, -2}
mov.b32 %r11, 0x40404080;  // {4, 3}
mov.b32 %r12, 0x80008000;
fma.rn.bf16x2 %r13, %r10, %r11, %r12;
mul.rn.bf16x2 %r14, %r10, %r11;
mov.b32 %r20, 0x80000000;
fma.rn.bf16x2 %r15, %r20, %r11, %r12;
mov.b32 %f10, 0f3F800000;
mov.b32 %f11, 0fC0000000;
cvt.rn.bf16x2.f32 %r16, %f11, %f10;
cvt.rn.f16x2.f32 %r17, %f11, %f10;
mov.b32 %r21, 0xc0003c00;  // fp16 {1, -2}
add.f16x2 %r18, %r21, %r21;
mul.f16x2 %r19, %r21, %r21;
st.global.u32 [%rd1], %r13;
st.global.u32 [%rd1+4], %r14;
st.global.u32 [%rd1+8], %r15;
st.global.u32 [%rd1+12], %r16;
st.global.u32 [%rd1+16], %r17;
st.global.u32 [%rd1+20], %r18;
st.global.u32 [%rd1+24], %r19;
st.global.u32 [%rd1+28], %r19;)";
  kernel.threads = 1;
  kernel.out_words = 4;
  const auto out = results(kernel);
  CHECK(static_cast<uint32_t>(out[0]) == 0xc0c04080u);  // {4, -6}
  CHECK(static_cast<uint32_t>(out[0] >> 32) == 0xc0c04080u);
  CHECK(static_cast<uint32_t>(out[1]) == 0x80000000u);  // +0 x 4 - 0 is +0, -0 x 3 - 0 is -0
  CHECK(static_cast<uint32_t>(out[1] >> 32) == 0xc0003f80u);
  CHECK(static_cast<uint32_t>(out[2]) == 0xc0003c00u);
  CHECK(static_cast<uint32_t>(out[2] >> 32) == 0xc4004000u);
  CHECK(static_cast<uint32_t>(out[3]) == 0x44003c00u);
}

TEST_CASE("a packed multiply with subnormal products rounds them once") {
  // bf16 2^-126 * 1.5 * 2^-1 and its like: products below the smallest normal float.
  KernelRun kernel;
  kernel.body = R"(mov.u32 %r10, 0;
LOOP:
mad.lo.u32 %r11, %r2, 577, %r10;
and.b32 %r11, %r11, 0x7fff;
shl.b32 %r12, %r11, 16;
or.b32 %r12, %r12, %r11;
mov.b32 %r13, 0x3f013c41;
mul.rn.bf16x2 %r14, %r12, %r13;
mad.lo.u32 %r15, %r10, 32, %r2;
mul.wide.u32 %rd3, %r15, 8;
add.s64 %rd4, %rd1, %rd3;
st.global.u32 [%rd4], %r14;
st.global.u32 [%rd4+4], %r11;
add.u32 %r10, %r10, 1;
setp.lt.u32 %p1, %r10, 64;
@%p1 bra LOOP;)";
  kernel.out_words = 64 * 32;
  const auto out = results(kernel);
  int checked = 0;
  for (uint64_t word : out) {
    const auto a = static_cast<uint16_t>(word >> 32);
    if ((a & 0x7f80) == 0x7f80) continue;
    ++checked;
    REQUIRE(static_cast<uint16_t>(word) ==
            nearest(value_of(a, 7, 127) * value_of(0x3c41, 7, 127), 7, 127));
    REQUIRE(static_cast<uint16_t>(word >> 16) ==
            nearest(value_of(a, 7, 127) * value_of(0x3f01, 7, 127), 7, 127));
  }
  CHECK(checked > 1500);
}

}  // namespace nvfp4::emulator
