// SPDX-License-Identifier: Apache-2.0
// The number formats of an NVFP4 GEMM as bit patterns, with exact conversions to float and
// conversions from float that round to nearest, ties to even.
//
//   E2M1  s ee m      0 0.5 1 1.5 2 3 4 6, no Inf, no NaN
//   E4M3  s eeee mmm  bias 7, largest 448, 0x7f and 0xff are NaN, no Inf
//   bf16  8 exponent bits, 7 of mantissa      fp16  5 exponent bits, 10 of mantissa
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace nvfp4 {

constexpr float kE2m1Max = 6.0f;
constexpr float kE4m3Max = 448.0f;

/// True for the two codes that are no number.
constexpr bool e4m3_is_nan(uint8_t code) { return (code & 0x7f) == 0x7f; }

/// Value of a 4-bit code (the high bits are ignored).
constexpr float e2m1_value(uint8_t code) {
  constexpr float kMagnitudes[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  return code & 8 ? -kMagnitudes[code & 7] : kMagnitudes[code & 7];
}

/// 2^exponent for exponents of normal floats.
constexpr float power_of_two(int exponent) {
  return std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23);
}

constexpr float e4m3_value(uint8_t code) {
  if (e4m3_is_nan(code)) return std::numeric_limits<float>::quiet_NaN();
  const int exponent = code >> 3 & 15;
  const int mantissa = code & 7;
  const float magnitude = exponent == 0
                              ? static_cast<float>(mantissa) * power_of_two(-9)
                              : static_cast<float>(8 + mantissa) * power_of_two(exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

/// The magnitude of `value` as a number with `mantissa_bits` and least normal exponent
/// `min_exponent`, rounded to nearest even, as an integer in units of the last place of the binade
/// it fell into, biased so that consecutive codes are consecutive integers. Overflow is the
/// caller's to clamp.
constexpr uint32_t rounded_magnitude(float value, int mantissa_bits, int min_exponent) {
  const uint32_t bits = std::bit_cast<uint32_t>(value) & 0x7fffffffu;
  const int exponent = static_cast<int>(bits >> 23) - 127;
  // Below the least normal number the unit stays put: the significand is shifted further right.
  const int lift = exponent < min_exponent ? min_exponent - exponent : 0;
  const int shift = 23 - mantissa_bits + lift;
  if (exponent == -127 || shift > 24) return 0;  // float subnormals are below every format here
  const uint32_t significand = (bits & 0x7fffffu) | 0x800000u;
  const uint32_t kept = significand >> shift;
  const uint32_t rest = significand & ((1u << shift) - 1);
  const uint32_t half = 1u << (shift - 1);
  const uint32_t rounded = kept + (rest > half || (rest == half && (kept & 1)) ? 1u : 0u);
  const uint32_t binade = lift ? 0u : static_cast<uint32_t>(exponent - min_exponent);
  return rounded + (binade << mantissa_bits);
}

/// Nearest code; magnitudes above 6 and NaN give 6, as the hardware conversion does.
constexpr uint8_t e2m1_code(float value) {
  const bool negative = std::bit_cast<uint32_t>(value) >> 31;
  if (value != value) return 7;
  const uint32_t magnitude =
      value > kE2m1Max || value < -kE2m1Max ? 7u : rounded_magnitude(value, 1, 0);
  return static_cast<uint8_t>((magnitude > 7 ? 7u : magnitude) | (negative ? 8u : 0u));
}

/// Nearest code; magnitudes above 448 (Inf too) give 448, NaN gives 0x7f.
constexpr uint8_t e4m3_code(float value) {
  if (value != value) return 0x7f;
  const bool negative = std::bit_cast<uint32_t>(value) >> 31;
  const uint32_t magnitude =
      value > kE4m3Max || value < -kE4m3Max ? 0x7eu : rounded_magnitude(value, 3, -6);
  return static_cast<uint8_t>(magnitude | (negative ? 0x80u : 0u));
}

constexpr float bf16_value(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

/// Overflow gives Inf; NaN gives 0x7fff, as the GPU's conversion does.
constexpr uint16_t bf16_bits(float value) {
  if (value != value) return 0x7fff;
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

constexpr float fp16_value(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const uint32_t mantissa = bits & 0x3ffu;
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  const float magnitude = exponent == 0
                              ? static_cast<float>(mantissa) * power_of_two(-24)
                              : static_cast<float>(1024 + mantissa) * power_of_two(exponent - 25);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
}

/// Overflow gives Inf, never the largest number; NaN gives 0x7fff, as the GPU's conversion does.
constexpr uint16_t fp16_bits(float value) {
  if (value != value) return 0x7fff;
  const uint32_t sign = std::bit_cast<uint32_t>(value) >> 16 & 0x8000u;
  const bool infinite = value >= 65520.0f || value <= -65520.0f;  // halfway from 65504 to 2^16
  const uint32_t magnitude = infinite ? 0x7c00u : rounded_magnitude(value, 10, -14);
  return static_cast<uint16_t>(sign | magnitude);
}

}  // namespace nvfp4
