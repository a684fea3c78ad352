// SPDX-License-Identifier: Apache-2.0
// setp, selp and slct. setp writes its comparison, combined with a third predicate if there is one,
// to p and the same with the opposite comparison to q.
#include <fmt/format.h>

#include <algorithm>

#include "runtime/emulator/half_float.h"
#include "runtime/emulator/opcode_table.h"

namespace nvfp4::emulator {
namespace {

enum Combine : uint8_t { kPlain, kAnd, kOr, kXor };

uint32_t combined(uint8_t how, uint32_t result, uint32_t other) {
  switch (how) {
    case kAnd:
      return result & other;
    case kOr:
      return result | other;
    case kXor:
      return result ^ other;
    default:
      return result;
  }
}

// Operands: p, q or none, a, b and, when combined, c.
template <class T, auto kCompare>
void set_predicate(Warp& warp, const Instruction& instruction) {
  const LaneCell<T>* a = warp.cells<T>(instruction.operand[2]);
  const LaneCell<T>* b = warp.cells<T>(instruction.operand[3]);
  alignas(64) uint32_t holds[kWarpLanes];
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    holds[lane] = to_cell<bool>(kCompare(from_cell<T>(a[lane]), from_cell<T>(b[lane])));
  }
  uint32_t* p = warp.cells<uint32_t>(instruction.operand[0]);
  if (instruction.flags == kPlain && instruction.operand[1] == kNoSlot) {
    write_lanes(warp.mask(), p, [&](int lane) { return holds[lane]; });
    return;
  }
  alignas(64) uint32_t other[kWarpLanes] = {};  // a copy: p or q may be the same register
  if (instruction.flags != kPlain) {
    const uint32_t* c = warp.cells<uint32_t>(instruction.operand[4]);
    std::copy_n(c, kWarpLanes, other);
  }
  write_lanes(warp.mask(), p,
              [&](int lane) { return combined(instruction.flags, holds[lane], other[lane]); });
  if (instruction.operand[1] == kNoSlot) return;
  uint32_t* q = warp.cells<uint32_t>(instruction.operand[1]);
  write_lanes(warp.mask(), q,
              [&](int lane) { return combined(instruction.flags, ~holds[lane], other[lane]); });
}

template <class T, auto kCompare>
void add_setp(OpcodeTable& table, std::string_view comparison, std::string_view types) {
  constexpr const char* kCombinations[] = {"", ".and", ".or", ".xor"};
  const char kind = operand_kind<T>();
  while (!types.empty()) {
    const size_t length = types.find(' ');
    for (uint8_t how = kPlain; how <= kXor; ++how) {
      table.add(
          fmt::format("setp.{}{}.{}", comparison, kCombinations[how], types.substr(0, length)),
          {fmt::format("pq={0}{0}{1}", kind, how == kPlain ? "" : "p"), &set_predicate<T, kCompare>,
           how});
    }
    types.remove_prefix(length == types.npos ? types.size() : length + 1);
  }
}

template <class T>
void add_equality(OpcodeTable& table, std::string_view types) {
  add_setp<T, [](T a, T b) { return a == b; }>(table, "eq", types);
  add_setp<T, [](T a, T b) { return a != b; }>(table, "ne", types);
}

template <class T>
void add_order(OpcodeTable& table, std::string_view types) {
  add_setp<T, [](T a, T b) { return a < b; }>(table, "lt", types);
  add_setp<T, [](T a, T b) { return a <= b; }>(table, "le", types);
  add_setp<T, [](T a, T b) { return b < a; }>(table, "gt", types);
  add_setp<T, [](T a, T b) { return b <= a; }>(table, "ge", types);
}

template <class T>
void add_unsigned_order(OpcodeTable& table, std::string_view types) {
  add_order<T>(table, types);
  add_setp<T, [](T a, T b) { return a < b; }>(table, "lo", types);
  add_setp<T, [](T a, T b) { return a <= b; }>(table, "ls", types);
  add_setp<T, [](T a, T b) { return b < a; }>(table, "hi", types);
  add_setp<T, [](T a, T b) { return b <= a; }>(table, "hs", types);
}

// Ordered comparisons are false and unordered ones true when an operand is NaN. `kLoad` turns the
// register's type into one that compares.
template <class T, auto kLoad>
void add_float_setp(OpcodeTable& table, std::string_view types) {
  add_setp<T, [](T a, T b) { return kLoad(a) == kLoad(b); }>(table, "eq", types);
  add_setp<T, [](T a, T b) { return kLoad(a) < kLoad(b) || kLoad(b) < kLoad(a); }>(table, "ne",
                                                                                   types);
  add_setp<T, [](T a, T b) { return kLoad(a) < kLoad(b); }>(table, "lt", types);
  add_setp<T, [](T a, T b) { return kLoad(a) <= kLoad(b); }>(table, "le", types);
  add_setp<T, [](T a, T b) { return kLoad(b) < kLoad(a); }>(table, "gt", types);
  add_setp<T, [](T a, T b) { return kLoad(b) <= kLoad(a); }>(table, "ge", types);
  add_setp<T, [](T a, T b) { return !(kLoad(a) < kLoad(b) || kLoad(b) < kLoad(a)); }>(table, "equ",
                                                                                      types);
  add_setp<T, [](T a, T b) { return !(kLoad(a) == kLoad(b)); }>(table, "neu", types);
  add_setp<T, [](T a, T b) { return !(kLoad(b) <= kLoad(a)); }>(table, "ltu", types);
  add_setp<T, [](T a, T b) { return !(kLoad(b) < kLoad(a)); }>(table, "leu", types);
  add_setp<T, [](T a, T b) { return !(kLoad(a) <= kLoad(b)); }>(table, "gtu", types);
  add_setp<T, [](T a, T b) { return !(kLoad(a) < kLoad(b)); }>(table, "geu", types);
  add_setp<T, [](T a, T b) { return kLoad(a) == kLoad(a) && kLoad(b) == kLoad(b); }>(table, "num",
                                                                                     types);
  add_setp<T, [](T a, T b) { return !(kLoad(a) == kLoad(a) && kLoad(b) == kLoad(b)); }>(
      table, "nan", types);
}

}  // namespace

void add_compare_opcodes(OpcodeTable& table) {
  add_equality<uint16_t>(table, "b16 u16 s16");
  add_equality<uint32_t>(table, "b32 u32 s32");
  add_equality<uint64_t>(table, "b64 u64 s64");
  add_unsigned_order<uint16_t>(table, "u16");
  add_unsigned_order<uint32_t>(table, "u32");
  add_unsigned_order<uint64_t>(table, "u64");
  add_order<int16_t>(table, "s16");
  add_order<int32_t>(table, "s32");
  add_order<int64_t>(table, "s64");
  add_float_setp<float, [](float x) { return x; }>(table, "f32");
  add_float_setp<double, [](double x) { return x; }>(table, "f64");
  add_float_setp<uint16_t, [](uint16_t x) { return Fp16::widen(x); }>(table, "f16");
  add_float_setp<uint16_t, [](uint16_t x) { return Bf16::widen(x); }>(table, "bf16");
  table.add<[](uint16_t a, uint16_t b, bool p) -> uint16_t { return p ? a : b; }>(
      "selp.b16 selp.u16 selp.s16");
  table.add<[](uint32_t a, uint32_t b, bool p) { return p ? a : b; }>(
      "selp.b32 selp.u32 selp.s32 selp.f32");
  table.add<[](uint64_t a, uint64_t b, bool p) { return p ? a : b; }>(
      "selp.b64 selp.u64 selp.s64 selp.f64");
  table.add<[](uint32_t a, uint32_t b, int32_t c) { return c < 0 ? b : a; }>(
      "slct.b32.s32 slct.u32.s32 slct.s32.s32 slct.f32.s32");
  table.add<[](uint64_t a, uint64_t b, int32_t c) { return c < 0 ? b : a; }>(
      "slct.b64.s32 slct.u64.s32 slct.s64.s32 slct.f64.s32");
}

}  // namespace nvfp4::emulator
