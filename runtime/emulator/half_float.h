// SPDX-License-Identifier: Apache-2.0
// 16-bit floating point, with one rounding to nearest even wherever PTX has one. Sums and products
// are formed in double and then narrowed twice; "rounding to odd" on the first step (set the last
// bit whenever anything was cut off) keeps the second step from seeing a false tie. Written without
// branches, for loops over lanes. NaN results are 0x7fff, as on the device.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace nvfp4::emulator {

/// The formats as types, for templates; values travel as their bits.
struct Bf16 {
  static float widen(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

  static uint16_t narrow(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : rounded);
  }
};

struct Fp16 {
  static float widen(uint16_t bits) {
    const uint32_t magnitude = bits & 0x7fffu;
    const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
    const uint32_t normal = (magnitude << 13) + (112u << 23);
    const uint32_t special = magnitude << 13 | 0x7f800000u;
    // A subnormal is a small integer times 2^-24.
    const uint32_t tiny =
        std::bit_cast<uint32_t>(static_cast<float>(static_cast<int>(magnitude)) * 0x1p-24f);
    const uint32_t finite = magnitude >= 0x0400u ? normal : tiny;
    return std::bit_cast<float>(sign | (magnitude >= 0x7c00u ? special : finite));
  }

  static uint16_t narrow(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t magnitude = bits & 0x7fffffffu;
    const uint32_t sign = bits >> 16 & 0x8000u;
    const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1)) >> 13;
    // Below 2^-14 one unit is 2^-24, which is the last bit of a float in [0.5, 1).
    const float shifted = std::bit_cast<float>(magnitude < 0x38800000u ? magnitude : 0u) + 0.5f;
    const uint32_t tiny = std::bit_cast<uint32_t>(shifted) - 0x3f000000u;
    const uint32_t finite = magnitude < 0x38800000u ? tiny : normal;
    const uint32_t bounded = magnitude >= 0x477ff000u ? 0x7c00u : finite;
    return static_cast<uint16_t>(magnitude > 0x7f800000u ? 0x7fffu : sign | bounded);
  }
};

/// `value` narrowed to float with rounding to odd.
inline float narrow_to_odd(double value) {
  const float near = static_cast<float>(value);
  const uint32_t bits = std::bit_cast<uint32_t>(near);
  const bool inexact = static_cast<double>(near) != value && value == value;
  const bool even = (bits & 1) == 0;
  const bool outward = std::fabs(value) > std::fabs(static_cast<double>(near));
  const uint32_t moved = outward ? bits + 1 : bits - 1;
  return std::bit_cast<float>(inexact && even ? moved : bits);
}

/// a + b rounded to odd (a and b finite or not; the error term is exact by Knuth's two-sum).
inline double add_to_odd(double a, double b) {
  const double sum = a + b;
  const double part = sum - a;
  const double error = (a - (sum - part)) + (b - part);
  const uint64_t bits = std::bit_cast<uint64_t>(sum);
  const bool inexact = error != 0 && std::fabs(sum) < HUGE_VAL && error == error;
  const bool outward = (error > 0) == (sum > 0);
  const uint64_t moved = outward ? bits + 1 : bits - 1;
  return std::bit_cast<double>(inexact && (bits & 1) == 0 ? moved : bits);
}

template <class Format>
uint16_t half_round(double value) {
  return Format::narrow(narrow_to_odd(value));
}

template <class Format>
uint16_t half_add(uint16_t a, uint16_t b) {
  return half_round<Format>(add_to_odd(Format::widen(a), Format::widen(b)));
}

template <class Format>
uint16_t half_multiply(uint16_t a, uint16_t b) {
  return half_round<Format>(static_cast<double>(Format::widen(a)) * Format::widen(b));
}

template <class Format>
uint16_t half_fma(uint16_t a, uint16_t b, uint16_t c) {
  return half_round<Format>(
      add_to_odd(static_cast<double>(Format::widen(a)) * Format::widen(b), Format::widen(c)));
}

}  // namespace nvfp4::emulator
