// SPDX-License-Identifier: Apache-2.0
// cvt. Integer conversions truncate or extend; a number too large for an integer is clamped and NaN
// becomes 0; between formats of floating point there is one rounding to nearest even.
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "runtime/emulator/half_float.h"
#include "runtime/emulator/opcode_table.h"

namespace nvfp4::emulator {
namespace {

template <class T>
const char* type_name() {
  constexpr bool kSigned = std::is_signed_v<T>;
  if (sizeof(T) == 1) return kSigned ? "s8" : "u8";
  if (sizeof(T) == 2) return kSigned ? "s16" : "u16";
  if (sizeof(T) == 4) return kSigned ? "s32" : "u32";
  return kSigned ? "s64" : "u64";
}

template <class To, class From>
To clamped(From value) {
  // Compared in 128 bits, where every integer type fits.
  const auto wide = static_cast<__int128>(value);
  if (wide < static_cast<__int128>(std::numeric_limits<To>::min()))
    return std::numeric_limits<To>::min();
  if (wide > static_cast<__int128>(std::numeric_limits<To>::max()))
    return std::numeric_limits<To>::max();
  return static_cast<To>(value);
}

template <class To>
To from_integral_float(double value) {
  constexpr double kLimit =
      2.0 * (std::numeric_limits<To>::max() / 2 + 1);  // exact: a power of two
  if (value != value) return 0;
  if (value >= kLimit) return std::numeric_limits<To>::max();
  if (value <= (std::is_signed_v<To> ? -kLimit : 0.0)) return std::numeric_limits<To>::min();
  return static_cast<To>(value);
}

/// The operands of cvt.To.From: only here a source may lie in a wider register, whose low bits
/// count.
template <class To, class From>
std::string cvt_operands() {
  const char source = sizeof(From) == 8 ? 'd' : sizeof(From) == 4 ? 'W' : 'H';
  return {operand_kind<To>(), '=', source};
}

// 8-bit results are sign- or zero-extended to the register, which may have 16 or 32 bits; a cell
// holds 32 either way.
template <class To, class From>
void add_integer_pair(OpcodeTable& table) {
  const auto name = [](const char* opcode) {
    return fmt::format("{}.{}.{}", opcode, type_name<To>(), type_name<From>());
  };
  const std::string operands = cvt_operands<To, From>();
  if constexpr (sizeof(To) == 1) {
    table.add(name("cvt"),
              {operands, &execute_lanes<[](From a) -> uint32_t {
                 return static_cast<uint32_t>(static_cast<int32_t>(static_cast<To>(a)));
               }>,
               0});
  } else {
    table.add(name("cvt"),
              {operands, &execute_lanes<[](From a) -> To { return static_cast<To>(a); }>, 0});
    table.add(name("cvt.sat"),
              {operands, &execute_lanes<[](From a) -> To { return clamped<To>(a); }>, 0});
  }
}

template <class To>
void add_integer_sources(OpcodeTable& table) {
  add_integer_pair<To, uint8_t>(table);
  add_integer_pair<To, int8_t>(table);
  add_integer_pair<To, uint16_t>(table);
  add_integer_pair<To, int16_t>(table);
  add_integer_pair<To, uint32_t>(table);
  add_integer_pair<To, int32_t>(table);
  add_integer_pair<To, uint64_t>(table);
  add_integer_pair<To, int64_t>(table);
}

// Integer <-> float, with the four roundings to an integer: nearest even, zero, down, up.
template <class T>
void add_integer_and_float(OpcodeTable& table) {
  const std::string type = type_name<T>();
  table.add<[](T a) -> float { return static_cast<float>(a); }>("cvt.rn.f32." + type);
  table.add<[](T a) -> double { return static_cast<double>(a); }>(
      (sizeof(T) == 8 ? "cvt.rn.f64." : "cvt.f64.") + type);
  if (sizeof(T) < 8)
    table.add<[](T a) -> double { return static_cast<double>(a); }>("cvt.rn.f64." + type);
  table.add<[](float a) -> T { return from_integral_float<T>(std::nearbyint(a)); }>(
      fmt::format("cvt.rni.{0}.f32 cvt.rni.ftz.{0}.f32", type));
  table.add<[](float a) -> T { return from_integral_float<T>(std::trunc(a)); }>(
      fmt::format("cvt.rzi.{0}.f32 cvt.rzi.ftz.{0}.f32", type));
  table.add<[](float a) -> T { return from_integral_float<T>(std::floor(a)); }>(
      fmt::format("cvt.rmi.{}.f32", type));
  table.add<[](float a) -> T { return from_integral_float<T>(std::ceil(a)); }>(
      fmt::format("cvt.rpi.{}.f32", type));
  table.add<[](double a) -> T { return from_integral_float<T>(std::nearbyint(a)); }>(
      fmt::format("cvt.rni.{}.f64", type));
  table.add<[](double a) -> T { return from_integral_float<T>(std::trunc(a)); }>(
      fmt::format("cvt.rzi.{}.f64", type));
  table.add<[](double a) -> T { return from_integral_float<T>(std::floor(a)); }>(
      fmt::format("cvt.rmi.{}.f64", type));
  table.add<[](double a) -> T { return from_integral_float<T>(std::ceil(a)); }>(
      fmt::format("cvt.rpi.{}.f64", type));
}

void add_float_to_float(OpcodeTable& table) {
  table.add<[](float a) -> double { return a; }>("cvt.f64.f32");
  table.add<[](double a) -> float { return static_cast<float>(a); }>("cvt.rn.f32.f64");
  table.add<[](float a) -> float { return std::nearbyint(a); }>("cvt.rni.f32.f32");
  table.add<[](float a) -> float { return std::trunc(a); }>("cvt.rzi.f32.f32");
  table.add<[](float a) -> float { return std::floor(a); }>("cvt.rmi.f32.f32");
  table.add<[](float a) -> float { return std::ceil(a); }>("cvt.rpi.f32.f32");
  table.add<[](float a) -> float { return 0.0f < a ? (a < 1.0f ? a : 1.0f) : 0.0f; }>(
      "cvt.sat.f32.f32");
}

template <class Format>
void add_half(OpcodeTable& table, const char* type) {
  table.add<[](uint16_t a) -> float { return Format::widen(a); }>(fmt::format("cvt.f32.{}", type));
  table.add<[](float a) -> uint16_t { return Format::narrow(a); }>(
      fmt::format("cvt.rn.{}.f32", type));
  // The first source goes to the high half.
  table.add<[](float high, float low) -> uint32_t {
    return uint32_t{Format::narrow(high)} << 16 | Format::narrow(low);
  }>(fmt::format("cvt.rn.{}x2.f32", type));
  table.add<[](int32_t a) -> uint16_t { return half_round<Format>(a); }>(
      fmt::format("cvt.rn.{}.s32", type));
  table.add<[](uint32_t a) -> uint16_t { return half_round<Format>(a); }>(
      fmt::format("cvt.rn.{}.u32", type));
  table.add<[](int16_t a) -> uint16_t { return half_round<Format>(a); }>(
      fmt::format("cvt.rn.{}.s16", type));
  table.add<[](uint16_t a) -> uint16_t { return half_round<Format>(a); }>(
      fmt::format("cvt.rn.{}.u16", type));
  table.add<[](uint16_t a) -> int32_t {
    return from_integral_float<int32_t>(std::trunc(Format::widen(a)));
  }>(fmt::format("cvt.rzi.s32.{}", type));
}

}  // namespace

void add_convert_opcodes(OpcodeTable& table) {
  add_integer_sources<uint8_t>(table);
  add_integer_sources<int8_t>(table);
  add_integer_sources<uint16_t>(table);
  add_integer_sources<int16_t>(table);
  add_integer_sources<uint32_t>(table);
  add_integer_sources<int32_t>(table);
  add_integer_sources<uint64_t>(table);
  add_integer_sources<int64_t>(table);
  add_integer_and_float<uint16_t>(table);
  add_integer_and_float<int16_t>(table);
  add_integer_and_float<uint32_t>(table);
  add_integer_and_float<int32_t>(table);
  add_integer_and_float<uint64_t>(table);
  add_integer_and_float<int64_t>(table);
  add_float_to_float(table);
  add_half<Fp16>(table, "f16");
  add_half<Bf16>(table, "bf16");
}

}  // namespace nvfp4::emulator
