// SPDX-License-Identifier: Apache-2.0
// f32 and f64 arithmetic, rounded to nearest even. NaN results of f32 are the device's canonical
// NaN. Approximate instructions (rcp.approx, ex2.approx, ...) give the correctly rounded value,
// which is within the error that PTX allows them.
#include <bit>
#include <cmath>
#include <cstdint>

#include "runtime/emulator/opcode_table.h"

namespace nvfp4::emulator {
namespace {

constexpr uint32_t kCanonicalNan = 0x7fffffffu;

// A result as the device leaves it in a register.
uint32_t single(float value) {
  return value == value ? std::bit_cast<uint32_t>(value) : kCanonicalNan;
}

// .ftz: a subnormal operand or result becomes a zero of its sign.
float flushed(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits & 0x7f800000u) == 0 ? bits & 0x80000000u : bits);
}
uint32_t flushed_single(float value) { return single(flushed(value)); }

// The smaller; a number before a NaN; -0 before +0.
float smaller(float a, float b) {
  const float ordered = a < b ? a : b;
  const float equal = std::bit_cast<float>(std::bit_cast<uint32_t>(a) | std::bit_cast<uint32_t>(b));
  const float numbers = a == b ? equal : ordered;
  return a != a ? b : b != b ? a : numbers;
}
float larger(float a, float b) {
  const float ordered = a > b ? a : b;
  const float equal = std::bit_cast<float>(std::bit_cast<uint32_t>(a) & std::bit_cast<uint32_t>(b));
  const float numbers = a == b ? equal : ordered;
  return a != a ? b : b != b ? a : numbers;
}

float with_sign_of(float sign, float magnitude) { return std::copysign(magnitude, sign); }

void add_single(OpcodeTable& table) {
  table.add<[](float a, float b) { return single(a + b); }>("add.f32 add.rn.f32");
  table.add<[](float a, float b) { return single(a - b); }>("sub.f32 sub.rn.f32");
  table.add<[](float a, float b) { return single(a * b); }>("mul.f32 mul.rn.f32");
  table.add<[](float a, float b, float c) { return single(std::fma(a, b, c)); }>(
      "fma.rn.f32 mad.rn.f32");
  table.add<[](float a, float b) { return single(a / b); }>(
      "div.rn.f32 div.approx.f32 div.full.f32");
  table.add<[](float a) { return single(1.0f / a); }>("rcp.rn.f32 rcp.approx.f32");
  table.add<[](float a) { return single(std::sqrt(a)); }>("sqrt.rn.f32 sqrt.approx.f32");
  table.add<[](float a) {
    return single(static_cast<float>(1.0 / std::sqrt(static_cast<double>(a))));
  }>("rsqrt.approx.f32");
  table.add<[](float a) { return single(static_cast<float>(std::exp2(static_cast<double>(a)))); }>(
      "ex2.approx.f32");
  table.add<[](float a) { return single(static_cast<float>(std::log2(static_cast<double>(a)))); }>(
      "lg2.approx.f32");
  table.add<[](float a) { return single(static_cast<float>(std::tanh(static_cast<double>(a)))); }>(
      "tanh.approx.f32");
  table.add<[](float a, float b) { return single(smaller(a, b)); }>("min.f32");
  table.add<[](float a, float b) { return single(larger(a, b)); }>("max.f32");
  table.add<[](uint32_t a) { return a & 0x7fffffffu; }>("abs.f32");
  table.add<[](uint32_t a) { return a ^ 0x80000000u; }>("neg.f32");
  table.add<[](float a, float b) { return with_sign_of(a, b); }>("copysign.f32");
}

void add_single_flushing(OpcodeTable& table) {
  table.add<[](float a, float b) { return flushed_single(flushed(a) + flushed(b)); }>(
      "add.ftz.f32 add.rn.ftz.f32");
  table.add<[](float a, float b) { return flushed_single(flushed(a) - flushed(b)); }>(
      "sub.ftz.f32 sub.rn.ftz.f32");
  table.add<[](float a, float b) { return flushed_single(flushed(a) * flushed(b)); }>(
      "mul.ftz.f32 mul.rn.ftz.f32");
  table.add<[](float a, float b, float c) {
    return flushed_single(std::fma(flushed(a), flushed(b), flushed(c)));
  }>("fma.rn.ftz.f32");
  table.add<[](float a, float b) { return flushed_single(flushed(a) / flushed(b)); }>(
      "div.rn.ftz.f32 div.approx.ftz.f32 div.full.ftz.f32");
  table.add<[](float a) { return flushed_single(1.0f / flushed(a)); }>(
      "rcp.rn.ftz.f32 rcp.approx.ftz.f32");
  table.add<[](float a) { return flushed_single(std::sqrt(flushed(a))); }>(
      "sqrt.rn.ftz.f32 sqrt.approx.ftz.f32");
  table.add<[](float a) {
    return flushed_single(static_cast<float>(std::exp2(static_cast<double>(flushed(a)))));
  }>("ex2.approx.ftz.f32");
  table.add<[](float a, float b) { return single(smaller(flushed(a), flushed(b))); }>(
      "min.ftz.f32");
  table.add<[](float a, float b) { return single(larger(flushed(a), flushed(b))); }>("max.ftz.f32");
  table.add<[](float a) { return std::fabs(flushed(a)); }>("abs.ftz.f32");
  table.add<[](float a) { return -flushed(a); }>("neg.ftz.f32");
}

void add_double(OpcodeTable& table) {
  table.add<[](double a, double b) { return a + b; }>("add.f64 add.rn.f64");
  table.add<[](double a, double b) { return a - b; }>("sub.f64 sub.rn.f64");
  table.add<[](double a, double b) { return a * b; }>("mul.f64 mul.rn.f64");
  table.add<[](double a, double b, double c) { return std::fma(a, b, c); }>(
      "fma.rn.f64 mad.rn.f64");
  table.add<[](double a, double b) { return a / b; }>("div.rn.f64");
  table.add<[](double a) { return 1.0 / a; }>("rcp.rn.f64");
  table.add<[](double a) { return std::sqrt(a); }>("sqrt.rn.f64");
  table.add<[](double a, double b) { return std::fmin(a, b); }>("min.f64");
  table.add<[](double a, double b) { return std::fmax(a, b); }>("max.f64");
  table.add<[](double a) { return std::fabs(a); }>("abs.f64");
  table.add<[](double a) { return -a; }>("neg.f64");
}

}  // namespace

void add_float_opcodes(OpcodeTable& table) {
  add_single(table);
  add_single_flushing(table);
  add_double(table);
}

}  // namespace nvfp4::emulator
