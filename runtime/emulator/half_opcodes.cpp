// SPDX-License-Identifier: Apache-2.0
// 16-bit floating point, scalar and packed. The packed multiply is the emulated kernels' hottest
// arithmetic (it decodes the weights), so it has a fast form for the usual case: a product of two
// 16-bit numbers is exact in float unless it is subnormal, and then one narrowing rounds it once.
#include <fmt/format.h>

#include <cmath>

#include "runtime/emulator/half_float.h"
#include "runtime/emulator/opcode_table.h"

namespace nvfp4::emulator {
namespace {

template <auto kCompute>
uint32_t both_halves(uint32_t a, uint32_t b) {
  return kCompute(static_cast<uint16_t>(a), static_cast<uint16_t>(b)) |
         uint32_t{kCompute(static_cast<uint16_t>(a >> 16), static_cast<uint16_t>(b >> 16))} << 16;
}

// The widened halves of all lanes: low ones first, then high ones.
template <class Format>
void widen_halves(const uint32_t* cells, float (&values)[64]) {
  for (int lane = 0; lane < 32; ++lane) {
    values[lane] = Format::widen(static_cast<uint16_t>(cells[lane]));
    values[lane + 32] = Format::widen(static_cast<uint16_t>(cells[lane] >> 16));
  }
}

template <class Format>
void multiply_packed(Warp& warp, const Instruction& instruction) {
  constexpr float kSmallestNormal = 0x1p-126f;
  const uint32_t* a = warp.cells<uint32_t>(instruction.operand[1]);
  const uint32_t* b = warp.cells<uint32_t>(instruction.operand[2]);
  uint32_t* d = warp.cells<uint32_t>(instruction.operand[0]);
  alignas(64) float x[64], y[64];
  widen_halves<Format>(a, x);
  widen_halves<Format>(b, y);
  uint32_t subnormal = 0;
  for (int i = 0; i < 64; ++i) {
    const uint32_t nonzero = x[i] != 0 && y[i] != 0 ? ~0u : 0u;
    x[i] *= y[i];
    subnormal |= std::fabs(x[i]) < kSmallestNormal ? nonzero : 0u;
  }
  if (subnormal == 0) {
    write_lanes(warp.mask(), d, [&](int lane) {
      return Format::narrow(x[lane]) | uint32_t{Format::narrow(x[lane + 32])} << 16;
    });
  } else {
    write_lanes(warp.mask(), d,
                [&](int lane) { return both_halves<half_multiply<Format>>(a[lane], b[lane]); });
  }
}

// a * b + c. Before sm_90 compilers multiply with c = -0, which takes the multiply's path.
template <class Format>
void fma_packed(Warp& warp, const Instruction& instruction) {
  const uint32_t* a = warp.cells<uint32_t>(instruction.operand[1]);
  const uint32_t* b = warp.cells<uint32_t>(instruction.operand[2]);
  const uint32_t* c = warp.cells<uint32_t>(instruction.operand[3]);
  uint32_t differs = 0;
  for (int lane = 0; lane < 32; ++lane) differs |= c[lane] ^ 0x80008000u;
  if (differs == 0) return multiply_packed<Format>(warp, instruction);
  write_lanes(warp.mask(), warp.cells<uint32_t>(instruction.operand[0]), [&](int lane) {
    const auto fma = [&](int shift) {
      return half_fma<Format>(static_cast<uint16_t>(a[lane] >> shift),
                              static_cast<uint16_t>(b[lane] >> shift),
                              static_cast<uint16_t>(c[lane] >> shift));
    };
    return fma(0) | uint32_t{fma(16)} << 16;
  });
}

// min and max: a number before a NaN, -0 before +0.
template <class Format, bool kMin>
uint16_t half_extreme(uint16_t a, uint16_t b) {
  const float x = Format::widen(a);
  const float y = Format::widen(b);
  if (x != x) return y != y ? 0x7fff : b;
  if (y != y) return a;
  if (x == y) return kMin ? a | b : a & b;
  return (x < y) == kMin ? a : b;
}

template <class Format>
uint16_t half_subtract(uint16_t a, uint16_t b) {
  return half_add<Format>(a, b ^ 0x8000u);
}

template <class Format>
void add_format(OpcodeTable& table, const char* type) {
  const auto names = [type](const char* pattern) {
    return fmt::format(fmt::runtime(pattern), type);
  };
  using H = uint16_t;
  using P = uint32_t;
  table.add<[](H a, H b) -> H { return half_add<Format>(a, b); }>(names("add.{0} add.rn.{0}"));
  table.add<[](H a, H b) -> H { return half_subtract<Format>(a, b); }>(names("sub.{0} sub.rn.{0}"));
  table.add<[](H a, H b) -> H { return half_multiply<Format>(a, b); }>(names("mul.{0} mul.rn.{0}"));
  table.add<[](H a, H b, H c) -> H { return half_fma<Format>(a, b, c); }>(names("fma.rn.{0}"));
  table.add<[](H a, H b) -> H { return half_extreme<Format, true>(a, b); }>(names("min.{0}"));
  table.add<[](H a, H b) -> H { return half_extreme<Format, false>(a, b); }>(names("max.{0}"));
  table.add<[](H a) -> H { return a ^ 0x8000u; }>(names("neg.{0}"));
  table.add<[](H a) -> H { return a & 0x7fffu; }>(names("abs.{0}"));
  table.add<[](P a, P b) { return both_halves<half_add<Format>>(a, b); }>(
      names("add.{0}x2 add.rn.{0}x2"));
  table.add<[](P a, P b) { return both_halves<half_subtract<Format>>(a, b); }>(
      names("sub.{0}x2 sub.rn.{0}x2"));
  table.add<[](P a, P b) { return both_halves<half_extreme<Format, true>>(a, b); }>(
      names("min.{0}x2"));
  table.add<[](P a, P b) { return both_halves<half_extreme<Format, false>>(a, b); }>(
      names("max.{0}x2"));
  table.add<[](P a) -> P { return a ^ 0x80008000u; }>(names("neg.{0}x2"));
  table.add<[](P a) -> P { return a & 0x7fff7fffu; }>(names("abs.{0}x2"));
  table.add(names("mul.{0}x2 mul.rn.{0}x2"), {"w=ww", &multiply_packed<Format>, 0});
  table.add(names("fma.rn.{0}x2"), {"w=www", &fma_packed<Format>, 0});
}

}  // namespace

void add_half_opcodes(OpcodeTable& table) {
  add_format<Fp16>(table, "f16");
  add_format<Bf16>(table, "bf16");
}

}  // namespace nvfp4::emulator
