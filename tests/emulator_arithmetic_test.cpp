// SPDX-License-Identifier: Apache-2.0
// Every arithmetic opcode of the emulated device against host arithmetic written down
// independently, bit for bit, over all pairs (or triples) of awkward values.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>

#include "tests/emulator_kernel.h"

namespace nvfp4::emulator {
namespace {

struct Operands {
  uint64_t a, b, c;
  uint32_t a32() const { return static_cast<uint32_t>(a); }
  uint32_t b32() const { return static_cast<uint32_t>(b); }
  uint32_t c32() const { return static_cast<uint32_t>(c); }
  int32_t as() const { return static_cast<int32_t>(a); }
  int32_t bs() const { return static_cast<int32_t>(b); }
  int32_t cs() const { return static_cast<int32_t>(c); }
  uint16_t a16() const { return static_cast<uint16_t>(a); }
  uint16_t b16() const { return static_cast<uint16_t>(b); }
  uint16_t c16() const { return static_cast<uint16_t>(c); }
  int64_t al() const { return static_cast<int64_t>(a); }
  int64_t bl() const { return static_cast<int64_t>(b); }
  float af() const { return std::bit_cast<float>(a32()); }
  float bf() const { return std::bit_cast<float>(b32()); }
  float cf() const { return std::bit_cast<float>(c32()); }
  double ad() const { return std::bit_cast<double>(a); }
  double bd() const { return std::bit_cast<double>(b); }
};

using Expected = std::function<uint64_t(const Operands&)>;

std::vector<Operands> all_triples(const std::vector<uint64_t>& values, size_t thin = 1) {
  std::vector<Operands> triples;
  size_t count = 0;
  for (uint64_t a : values) {
    for (uint64_t b : values) {
      for (uint64_t c : values) {
        if (count++ % thin == 0) triples.push_back({a, b, c});
      }
    }
  }
  return triples;
}

// Runs `text`, which computes %rd10, %r10, %rs10 or %p10 (`result`: d, w, h, p) from %rd11, %rd12,
// %rd13 and their low parts %r11 .. and %rs11 .., and compares every result.
void check(const std::string& text, char result, const std::vector<Operands>& inputs,
           const Expected& expected) {
  INFO(text);
  KernelRun kernel;
  kernel.in.clear();
  for (const Operands& o : inputs) kernel.in.insert(kernel.in.end(), {o.a, o.b, o.c});
  const size_t threads = (inputs.size() + 31) / 32 * 32;
  kernel.in.resize(threads * 3);
  kernel.blocks = static_cast<unsigned>(threads / 32);
  kernel.out_words = threads;
  std::string widen = "cvt.u64.u32 %rd10, %r10;";
  if (result == 'd') widen = "";
  if (result == 'h') widen = "cvt.u64.u16 %rd10, %rs10;";
  if (result == 'p') widen = "selp.u64 %rd10, 1, 0, %p10;";
  kernel.body = R"(mul.wide.u32 %rd3, %r1, 24;
add.s64 %rd4, %rd2, %rd3;
ld.global.u64 %rd11, [%rd4];
ld.global.u64 %rd12, [%rd4+8];
ld.global.u64 %rd13, [%rd4+16];
cvt.u32.u64 %r11, %rd11; cvt.u32.u64 %r12, %rd12; cvt.u32.u64 %r13, %rd13;
cvt.u16.u64 %rs11, %rd11; cvt.u16.u64 %rs12, %rd12; cvt.u16.u64 %rs13, %rd13;
mov.b32 %f11, %r11; mov.b32 %f12, %r12; mov.b32 %f13, %r13;
mov.b64 %fd11, %rd11; mov.b64 %fd12, %rd12; mov.b64 %fd13, %rd13;
)" + text + "\n" +
                widen + R"(
mul.wide.u32 %rd5, %r1, 8;
add.s64 %rd6, %rd1, %rd5;
st.global.u64 [%rd6], %rd10;
)";
  const std::vector<uint64_t> got = results(kernel);
  int wrong = 0;
  for (size_t i = 0; i < inputs.size() && wrong < 5; ++i) {
    const uint64_t want = expected(inputs[i]);
    if (got[i] == want) continue;
    ++wrong;
    CHECK_MESSAGE(got[i] == want, fmt::format("a={:#x} b={:#x} c={:#x}: {:#x}, not {:#x}",
                                              inputs[i].a, inputs[i].b, inputs[i].c, got[i], want));
  }
  CHECK(wrong == 0);
}

const std::vector<uint64_t> kIntegers{0,
                                      1,
                                      2,
                                      3,
                                      7,
                                      31,
                                      32,
                                      33,
                                      63,
                                      64,
                                      65,
                                      0x7f,
                                      0x80,
                                      0xff,
                                      0x7fff,
                                      0x8000,
                                      0xffff,
                                      0x12345678,
                                      0x7fffffff,
                                      0x80000000,
                                      0xffffffff,
                                      0x123456789abcdef0,
                                      0x7fffffffffffffff,
                                      0x8000000000000000,
                                      0xffffffffffffffff};
std::vector<Operands> integers() { return all_triples(kIntegers, 7); }

std::vector<Operands> floats() {
  std::vector<uint64_t> values;
  for (float f : {0.0f, 1.0f, 1.5f, 3.0f, 0.1f, 1e-20f, 1e20f, 0x1p-126f, 0x1p-140f, 0x1p-149f,
                  0x1.fffffep127f, 5e9f, HUGE_VALF, NAN, 2147483648.0f, 0.5f, 2.5f}) {
    values.push_back(std::bit_cast<uint32_t>(f));
    values.push_back(std::bit_cast<uint32_t>(-f));
  }
  return all_triples(values, 5);
}

uint64_t bits(float value) { return value == value ? std::bit_cast<uint32_t>(value) : 0x7fffffffu; }
uint64_t bits(double value) { return std::bit_cast<uint64_t>(value); }
uint64_t low(int64_t value) { return static_cast<uint32_t>(value); }

}  // namespace

TEST_CASE("32-bit integer arithmetic agrees with the host") {
  const auto in = integers();
  check("add.s32 %r10, %r11, %r12;", 'w', in, [](auto& o) { return o.a32() + o.b32(); });
  check("sub.s32 %r10, %r11, %r12;", 'w', in, [](auto& o) { return o.a32() - o.b32(); });
  check("mul.lo.s32 %r10, %r11, %r12;", 'w', in, [](auto& o) { return o.a32() * o.b32(); });
  check("mul.hi.u32 %r10, %r11, %r12;", 'w', in,
        [](auto& o) { return (uint64_t{o.a32()} * o.b32()) >> 32; });
  check("mul.hi.s32 %r10, %r11, %r12;", 'w', in,
        [](auto& o) { return low((int64_t{o.as()} * o.bs()) >> 32); });
  check("mul.wide.u32 %rd10, %r11, %r12;", 'd', in,
        [](auto& o) { return uint64_t{o.a32()} * o.b32(); });
  check("mul.wide.s32 %rd10, %r11, %r12;", 'd', in,
        [](auto& o) { return static_cast<uint64_t>(int64_t{o.as()} * o.bs()); });
  check("mul.wide.s16 %r10, %rs11, %rs12;", 'w', in, [](auto& o) {
    return low(int64_t{static_cast<int16_t>(o.a16())} * static_cast<int16_t>(o.b16()));
  });
  check("mad.lo.s32 %r10, %r11, %r12, %r13;", 'w', in,
        [](auto& o) { return o.a32() * o.b32() + o.c32(); });
  check("mad.wide.u32 %rd10, %r11, %r12, %rd13;", 'd', in,
        [](auto& o) { return uint64_t{o.a32()} * o.b32() + o.c; });
  check("mad.hi.u32 %r10, %r11, %r12, %r13;", 'w', in, [](auto& o) {
    return static_cast<uint32_t>((uint64_t{o.a32()} * o.b32() >> 32) + o.c32());
  });
  check("div.u32 %r10, %r11, %r12;", 'w', in,
        [](auto& o) { return o.b32() ? o.a32() / o.b32() : 0xffffffffu; });
  check("rem.u32 %r10, %r11, %r12;", 'w', in,
        [](auto& o) { return o.b32() ? o.a32() % o.b32() : o.a32(); });
  check("div.s32 %r10, %r11, %r12;", 'w', in,
        [](auto& o) { return o.bs() ? low(int64_t{o.as()} / o.bs()) : 0xffffffffu; });
  check("rem.s32 %r10, %r11, %r12;", 'w', in,
        [](auto& o) { return o.bs() ? low(int64_t{o.as()} % o.bs()) : o.a32(); });
  check("min.s32 %r10, %r11, %r12;", 'w', in,
        [](auto& o) { return low(std::min(o.as(), o.bs())); });
  check("max.u32 %r10, %r11, %r12;", 'w', in, [](auto& o) { return std::max(o.a32(), o.b32()); });
  check("abs.s32 %r10, %r11;", 'w', in, [](auto& o) { return low(std::abs(int64_t{o.as()})); });
  check("neg.s32 %r10, %r11;", 'w', in, [](auto& o) { return low(-int64_t{o.as()}); });
  check("sad.s32 %r10, %r11, %r12, %r13;", 'w', in,
        [](auto& o) { return low(std::abs(int64_t{o.as()} - o.bs()) + o.cs()); });
  check("dp4a.s32.s32 %r10, %r11, %r12, %r13;", 'w', in, [](auto& o) {
    int64_t sum = o.cs();
    for (int i = 0; i < 32; i += 8)
      sum += int64_t{static_cast<int8_t>(o.a32() >> i)} * static_cast<int8_t>(o.b32() >> i);
    return low(sum);
  });
}

TEST_CASE("16-bit and 64-bit integer arithmetic agrees with the host") {
  const auto in = integers();
  check("add.s16 %rs10, %rs11, %rs12;", 'h', in,
        [](auto& o) { return static_cast<uint16_t>(o.a16() + o.b16()); });
  check("mul.lo.s16 %rs10, %rs11, %rs12;", 'h', in,
        [](auto& o) { return static_cast<uint16_t>(uint32_t{o.a16()} * o.b16()); });
  check("min.s16 %rs10, %rs11, %rs12;", 'h', in, [](auto& o) {
    return static_cast<uint16_t>(
        std::min(static_cast<int16_t>(o.a16()), static_cast<int16_t>(o.b16())));
  });
  check("shr.s16 %rs10, %rs11, 3;", 'h', in,
        [](auto& o) { return static_cast<uint16_t>(static_cast<int16_t>(o.a16()) >> 3); });
  check("add.s64 %rd10, %rd11, %rd12;", 'd', in, [](auto& o) { return o.a + o.b; });
  check("mul.lo.s64 %rd10, %rd11, %rd12;", 'd', in, [](auto& o) { return o.a * o.b; });
  check("mul.hi.s64 %rd10, %rd11, %rd12;", 'd', in, [](auto& o) {
    return static_cast<uint64_t>((static_cast<__int128>(o.al()) * o.bl()) >> 64);
  });
  check("div.u64 %rd10, %rd11, %rd12;", 'd', in,
        [](auto& o) { return o.b ? o.a / o.b : ~uint64_t{0}; });
  check("rem.s64 %rd10, %rd11, %rd12;", 'd', in, [](auto& o) {
    return o.b ? static_cast<uint64_t>(static_cast<__int128>(o.al()) % o.bl()) : o.a;
  });
  check("max.s64 %rd10, %rd11, %rd12;", 'd', in,
        [](auto& o) { return static_cast<uint64_t>(std::max(o.al(), o.bl())); });
  check("sub.u64 %rd10, %rd11, 5;", 'd', in, [](auto& o) { return o.a - 5; });
}

TEST_CASE("logic, shifts and bit fields agree with the host") {
  const auto in = integers();
  check("and.b32 %r10, %r11, -16;", 'w', in, [](auto& o) { return o.a32() & 0xfffffff0u; });
  check("or.b64 %rd10, %rd11, %rd12;", 'd', in, [](auto& o) { return o.a | o.b; });
  check("xor.b16 %rs10, %rs11, %rs12;", 'h', in, [](auto& o) { return o.a16() ^ o.b16(); });
  check("not.b64 %rd10, %rd11;", 'd', in, [](auto& o) { return ~o.a; });
  check("shl.b32 %r10, %r11, %r12;", 'w', in,
        [](auto& o) { return o.b32() < 32 ? o.a32() << o.b32() : 0; });
  check("shr.u32 %r10, %r11, %r12;", 'w', in,
        [](auto& o) { return o.b32() < 32 ? o.a32() >> o.b32() : 0; });
  check("shr.s32 %r10, %r11, %r12;", 'w', in,
        [](auto& o) { return low(o.as() >> std::min(o.b32(), 31u)); });
  check("shl.b64 %rd10, %rd11, %r12;", 'd', in,
        [](auto& o) { return o.b32() < 64 ? o.a << o.b32() : 0; });
  check("shr.s64 %rd10, %rd11, %r12;", 'd', in,
        [](auto& o) { return static_cast<uint64_t>(o.al() >> std::min(o.b32(), 63u)); });
  check("shf.l.wrap.b32 %r10, %r11, %r12, %r13;", 'w', in, [](auto& o) {
    const int n = o.c32() % 32;
    return static_cast<uint32_t>(n == 0 ? o.b32() : o.b32() << n | o.a32() >> (32 - n));
  });
  check("shf.r.clamp.b32 %r10, %r11, %r12, %r13;", 'w', in, [](auto& o) {
    const uint32_t n = std::min(o.c32(), 32u);
    return static_cast<uint32_t>(n == 32  ? o.b32()
                                 : n == 0 ? o.a32()
                                          : o.a32() >> n | o.b32() << (32 - n));
  });
  check("bfe.u32 %r10, %r11, 5, 9;", 'w', in, [](auto& o) { return o.a32() >> 5 & 0x1ff; });
  check("bfe.s32 %r10, %r11, 20, 20;", 'w', in, [](auto& o) { return low(o.as() >> 20); });
  check("bfe.s64 %rd10, %rd11, 3, 7;", 'd', in,
        [](auto& o) { return static_cast<uint64_t>(static_cast<int64_t>(o.a << 54) >> 57); });
  check("bfi.b32 %r10, %r11, %r12, 8, 12;", 'w', in,
        [](auto& o) { return (o.b32() & ~0xfff00u) | (o.a32() & 0xfff) << 8; });
  check("bfi.b64 %rd10, %rd11, %rd12, 32, 32;", 'd', in,
        [](auto& o) { return (o.b & 0xffffffff) | o.a << 32; });
  check("bfind.u32 %r10, %r11;", 'w', in,
        [](auto& o) { return o.a32() ? 31 - std::countl_zero(o.a32()) : 0xffffffffu; });
  check("bfind.shiftamt.u32 %r10, %r11;", 'w', in,
        [](auto& o) { return o.a32() ? std::countl_zero(o.a32()) : 0xffffffffu; });
  check("popc.b64 %r10, %rd11;", 'w', in, [](auto& o) { return std::popcount(o.a); });
  check("clz.b32 %r10, %r11;", 'w', in, [](auto& o) { return std::countl_zero(o.a32()); });
  check("brev.b32 %r10, %r11;", 'w', in, [](auto& o) {
    uint32_t r = 0;
    for (int i = 0; i < 32; ++i) r |= (o.a32() >> i & 1) << (31 - i);
    return r;
  });
}

TEST_CASE("three-input logic, byte permutation and packing agree with the host") {
  const auto in = integers();
  check("lop3.b32 %r10, %r11, %r12, %r13, 0xE8;", 'w', in, [](auto& o) {  // majority
    return (o.a32() & o.b32()) | (o.a32() & o.c32()) | (o.b32() & o.c32());
  });
  check("prmt.b32 %r10, %r11, %r12, %r13;", 'w', in, [](auto& o) {
    uint32_t r = 0;
    for (int i = 0; i < 4; ++i) {
      const int n = o.c32() >> (4 * i) & 15;
      uint32_t byte = (n & 4 ? o.b32() : o.a32()) >> (8 * (n & 3)) & 0xff;
      if (n & 8) byte = byte & 0x80 ? 0xff : 0;
      r |= byte << (8 * i);
    }
    return r;
  });
  check("mov.b64 {%r20, %r21}, %rd11; mov.b64 %rd10, {%r21, %r20};", 'd', in,
        [](auto& o) { return o.a << 32 | o.a >> 32; });
  check("{.reg .b16 lo, hi; mov.b32 {lo, hi}, %r11; mov.b32 %r10, {hi, hi};}", 'w', in,
        [](auto& o) { return (o.a32() >> 16) * 0x10001u; });
}

TEST_CASE("comparisons and selections agree with the host") {
  const auto in = integers();
  check("setp.lt.s32 %p10, %r11, %r12;", 'p', in, [](auto& o) { return o.as() < o.bs(); });
  check("setp.hs.u32 %p10, %r11, %r12;", 'p', in, [](auto& o) { return o.a32() >= o.b32(); });
  check("setp.ne.b64 %p10, %rd11, %rd12;", 'p', in, [](auto& o) { return o.a != o.b; });
  check("setp.le.s16 %p10, %rs11, %rs12;", 'p', in,
        [](auto& o) { return static_cast<int16_t>(o.a16()) <= static_cast<int16_t>(o.b16()); });
  check("setp.gt.u32 %p1, %r11, %r12; setp.eq.and.s32 %p10|%p2, %r12, %r13, %p1;", 'p', in,
        [](auto& o) { return o.b32() == o.c32() && o.a32() > o.b32(); });
  check("setp.gt.u32 %p1, %r11, %r12; setp.eq.and.s32 %p2|%p10, %r12, %r13, %p1;", 'p', in,
        [](auto& o) { return o.b32() != o.c32() && o.a32() > o.b32(); });
  check("setp.gt.u32 %p1, %r11, %r12; setp.eq.or.s32 %p10, %r12, %r13, !%p1;", 'p', in,
        [](auto& o) { return o.b32() == o.c32() || !(o.a32() > o.b32()); });
  check("setp.gt.u32 %p1, %r11, %r12; selp.b64 %rd10, %rd12, %rd13, %p1;", 'd', in,
        [](auto& o) { return o.a32() > o.b32() ? o.b : o.c; });
  check("slct.u32.s32 %r10, %r11, %r12, %r13;", 'w', in,
        [](auto& o) { return o.cs() >= 0 ? o.a32() : o.b32(); });
  check("setp.lt.u32 %p1, %r11, %r12; @%p1 mov.u32 %r10, 1; @!%p1 mov.u32 %r10, 2;", 'w', in,
        [](auto& o) { return o.a32() < o.b32() ? 1 : 2; });
  const auto real = floats();
  check("setp.lt.f32 %p10, %f11, %f12;", 'p', real, [](auto& o) { return o.af() < o.bf(); });
  check("setp.ne.f32 %p10, %f11, %f12;", 'p', real,
        [](auto& o) { return o.af() < o.bf() || o.af() > o.bf(); });
  check("setp.neu.f32 %p10, %f11, %f12;", 'p', real, [](auto& o) { return !(o.af() == o.bf()); });
  check("setp.geu.f32 %p10, %f11, %f12;", 'p', real, [](auto& o) { return !(o.af() < o.bf()); });
  check("setp.nan.f32 %p10, %f11, %f12;", 'p', real,
        [](auto& o) { return std::isnan(o.af()) || std::isnan(o.bf()); });
}

TEST_CASE("single and double precision agree with the host and give the device's NaN") {
  const auto in = floats();
  const auto store = std::string(" mov.b32 %r10, %f10;");
  check("add.f32 %f10, %f11, %f12;" + store, 'w', in,
        [](auto& o) { return bits(o.af() + o.bf()); });
  check("sub.f32 %f10, %f11, 0f3F800000;" + store, 'w', in,
        [](auto& o) { return bits(o.af() - 1.0f); });
  check("mul.rn.f32 %f10, %f11, %f12;" + store, 'w', in,
        [](auto& o) { return bits(o.af() * o.bf()); });
  check("fma.rn.f32 %f10, %f11, %f12, %f13;" + store, 'w', in,
        [](auto& o) { return bits(std::fma(o.af(), o.bf(), o.cf())); });
  check("div.rn.f32 %f10, %f11, %f12;" + store, 'w', in,
        [](auto& o) { return bits(o.af() / o.bf()); });
  check("sqrt.rn.f32 %f10, %f11;" + store, 'w', in,
        [](auto& o) { return bits(std::sqrt(o.af())); });
  check("neg.f32 %f10, %f11;" + store, 'w', in, [](auto& o) { return o.a32() ^ 0x80000000u; });
  check("add.ftz.f32 %f10, %f11, 0f00000000;" + store, 'w', in, [](auto& o) {
    return std::fpclassify(o.af()) == FP_SUBNORMAL ? (o.a32() & 0x80000000u) * 0
                                                   : bits(o.af() + 0.0f);
  });
  check("min.f32 %f10, %f11, %f12;" + store, 'w', in, [](auto& o) {
    if (o.af() == 0 && o.bf() == 0) return uint64_t{(o.a32() | o.b32()) & 0x80000000u};
    const float m = std::fmin(o.af(), o.bf());
    return bits(m);
  });
  const auto wide = std::string(" mov.b64 %rd10, %fd10;");
  std::vector<Operands> doubles;
  for (const Operands& o : in)
    doubles.push_back({bits(double{o.af()}), bits(double{o.bf()}), bits(double{o.cf()})});
  std::erase_if(doubles,
                [](const Operands& o) { return std::isnan(o.ad()) || std::isnan(o.bd()); });
  std::erase_if(doubles, [](const Operands& o) {
    return std::isnan(o.ad() * o.bd()) || std::isnan(o.ad() + o.bd());
  });
  check("add.f64 %fd10, %fd11, %fd12;" + wide, 'd', doubles,
        [](auto& o) { return bits(o.ad() + o.bd()); });
  check("mul.f64 %fd10, %fd11, 0d4000000000000000;" + wide, 'd', doubles,
        [](auto& o) { return bits(o.ad() * 2.0); });
  check("cvt.rn.f32.f64 %f10, %fd11;" + store, 'w', doubles,
        [](auto& o) { return bits(static_cast<float>(o.ad())); });
}

TEST_CASE("conversions of integers truncate, extend and clamp") {
  const auto in = integers();
  check("cvt.s64.s32 %rd10, %r11;", 'd', in,
        [](auto& o) { return static_cast<uint64_t>(int64_t{o.as()}); });
  check("cvt.u64.u16 %rd10, %rs11;", 'd', in, [](auto& o) { return o.a16(); });
  check("cvt.s32.s8 %r10, %r11;", 'w', in,
        [](auto& o) { return low(static_cast<int8_t>(o.a32())); });
  check("cvt.s16.s8 %rs10, %rs11;", 'h', in,
        [](auto& o) { return static_cast<uint16_t>(static_cast<int8_t>(o.a16())); });
  check("cvt.u32.u8 %r10, %r11;", 'w', in, [](auto& o) { return o.a32() & 0xff; });
  // A source may lie in a wider register: its low bits are converted.
  check("cvt.s64.s32 %rd10, %rd11;", 'd', in,
        [](auto& o) { return static_cast<uint64_t>(int64_t{static_cast<int32_t>(o.a)}); });
  check("cvt.u64.u16 %rd10, %rd11;", 'd', in, [](auto& o) { return o.a & 0xffff; });
  check("cvt.u32.u8 %r10, %rd11;", 'w', in, [](auto& o) { return o.a & 0xff; });
  check("cvt.s32.s16 %r10, %r11;", 'w', in,
        [](auto& o) { return low(static_cast<int16_t>(o.a32())); });
  check("cvt.sat.s16.s32 %rs10, %r11;", 'h', in,
        [](auto& o) { return static_cast<uint16_t>(std::max(-32768, std::min(32767, o.as()))); });
  check("cvt.rn.f32.s32 %f10, %r11; mov.b32 %r10, %f10;", 'w', in,
        [](auto& o) { return bits(static_cast<float>(o.as())); });
  check("cvt.rn.f32.u64 %f10, %rd11; mov.b32 %r10, %f10;", 'w', in,
        [](auto& o) { return bits(static_cast<float>(o.a)); });
  const auto real = floats();
  const auto clamp = [](double v) {
    return std::isnan(v) ? 0 : std::max(-2147483648.0, std::min(2147483647.0, v));
  };
  check("cvt.rzi.s32.f32 %r10, %f11;", 'w', real,
        [&](auto& o) { return low(static_cast<int64_t>(clamp(std::trunc(o.af())))); });
  check("cvt.rni.s32.f32 %r10, %f11;", 'w', real,
        [&](auto& o) { return low(static_cast<int64_t>(clamp(std::nearbyint(o.af())))); });
  check("cvt.rmi.f32.f32 %f10, %f11; mov.b32 %r10, %f10;", 'w', real,
        [](auto& o) { return std::isnan(o.af()) ? uint64_t{o.a32()} : bits(std::floor(o.af())); });
}

}  // namespace nvfp4::emulator
