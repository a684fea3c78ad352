// SPDX-License-Identifier: Apache-2.0
// Logic, shifts, bit fields and byte permutation. Shift amounts beyond the width are clamped to it.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <type_traits>

#include "runtime/emulator/opcode_table.h"

namespace nvfp4::emulator {
namespace {

template <class U>
constexpr uint32_t kWidth = 8 * sizeof(U);

template <class U>
U reversed(U value) {
  U result = 0;
  for (uint32_t bit = 0; bit < kWidth<U>; ++bit)
    result |= (value >> bit & 1) << (kWidth<U> - 1 - bit);
  return result;
}

// bfe: `length` bits from `position`, sign- or zero-extended; the sign is that of the last bit
// present.
template <class T>
T extracted(T value, uint32_t position, uint32_t length) {
  using U = std::make_unsigned_t<T>;
  position &= 0xff;
  length &= 0xff;
  if (length == 0) return 0;
  const uint32_t last = std::min(position + length - 1, kWidth<U> - 1);
  const bool sign = std::is_signed_v<T> && (static_cast<U>(value) >> last & 1) != 0;
  const U field = position >= kWidth<U> ? 0 : static_cast<U>(value) >> position;
  const uint32_t present = position >= kWidth<U> ? 0 : std::min(length, kWidth<U> - position);
  const U mask = present >= kWidth<U> ? ~U{0} : (U{1} << present) - 1;
  return static_cast<T>((field & mask) | (sign ? ~mask : 0));
}

// bfi: the low `length` bits of `from` put into `into` at `position`.
template <class U>
U inserted(U from, U into, uint32_t position, uint32_t length) {
  position &= 0xff;
  length &= 0xff;
  if (position >= kWidth<U> || length == 0) return into;
  const U ones = length >= kWidth<U> ? ~U{0} : (U{1} << length) - 1;
  const U mask = ones << position;
  return (into & ~mask) | (from << position & mask);
}

// bfind: the highest bit that differs from the sign, ~0 when there is none.
template <class T>
uint32_t highest_bit(T value) {
  using U = std::make_unsigned_t<T>;
  const U bits = static_cast<U>(std::is_signed_v<T> && value < 0 ? ~value : value);
  return bits == 0 ? ~0u : kWidth<U> - 1 - static_cast<uint32_t>(std::countl_zero(bits));
}

uint32_t permuted(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = uint64_t{b} << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t nibble = selector >> (4 * i) & 0xf;
    const uint32_t byte = static_cast<uint32_t>(bytes >> (8 * (nibble & 7))) & 0xff;
    const uint32_t sign = (byte & 0x80) != 0 ? 0xff : 0;
    result |= (nibble & 8 ? sign : byte) << (8 * i);
  }
  return result;
}

uint32_t lookup3(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
  uint32_t result = 0;
  for (uint32_t row = 0; row < 8; ++row) {
    const uint32_t wanted = table >> row & 1 ? ~0u : 0u;
    result |= wanted & (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
  }
  return result;
}

template <class U>
void add_logic(OpcodeTable& table, const char* type) {
  const auto name = [type](const char* opcode) { return fmt::format("{}.{}", opcode, type); };
  table.add<[](U a, U b) -> U { return a & b; }>(name("and"));
  table.add<[](U a, U b) -> U { return a | b; }>(name("or"));
  table.add<[](U a, U b) -> U { return a ^ b; }>(name("xor"));
  table.add<[](U a) -> U {
    if constexpr (std::is_same_v<U, bool>) {
      return !a;
    } else {
      return static_cast<U>(~a);
    }
  }>(name("not"));
}

template <class U>
void add_shifts(OpcodeTable& table, int bits) {
  using S = std::make_signed_t<U>;
  table.add<[](U a, uint32_t n) -> U {
    return n < kWidth<U> ? static_cast<U>(a << (n & (kWidth<U> - 1))) : U{0};
  }>(fmt::format("shl.b{}", bits));
  table.add<[](U a, uint32_t n) -> U {
    return n < kWidth<U> ? static_cast<U>(a >> (n & (kWidth<U> - 1))) : U{0};
  }>(fmt::format("shr.u{0} shr.b{0}", bits));
  table.add<[](S a, uint32_t n) -> S { return static_cast<S>(a >> std::min(n, kWidth<U> - 1)); }>(
      fmt::format("shr.s{}", bits));
}

template <class U>
void add_fields(OpcodeTable& table, int bits) {
  using S = std::make_signed_t<U>;
  table.add<[](U a, uint32_t b, uint32_t c) -> U { return extracted(a, b, c); }>(
      fmt::format("bfe.u{}", bits));
  table.add<[](S a, uint32_t b, uint32_t c) -> S { return extracted(a, b, c); }>(
      fmt::format("bfe.s{}", bits));
  table.add<[](U a, U b, uint32_t c, uint32_t d) -> U { return inserted(a, b, c, d); }>(
      fmt::format("bfi.b{}", bits));
  table.add<[](U a) -> uint32_t { return highest_bit(a); }>(fmt::format("bfind.u{}", bits));
  table.add<[](S a) -> uint32_t { return highest_bit(a); }>(fmt::format("bfind.s{}", bits));
  table.add<[](U a) -> uint32_t {
    const uint32_t bit = highest_bit(a);
    return bit == ~0u ? bit : kWidth<U> - 1 - bit;
  }>(fmt::format("bfind.shiftamt.u{}", bits));
  table.add<[](S a) -> uint32_t {
    const uint32_t bit = highest_bit(a);
    return bit == ~0u ? bit : kWidth<U> - 1 - bit;
  }>(fmt::format("bfind.shiftamt.s{}", bits));
  table.add<[](U a) -> uint32_t { return std::popcount(a); }>(fmt::format("popc.b{}", bits));
  table.add<[](U a) -> uint32_t { return std::countl_zero(a); }>(fmt::format("clz.b{}", bits));
  table.add<[](U a) -> U { return reversed(a); }>(fmt::format("brev.b{}", bits));
}

}  // namespace

void add_bit_opcodes(OpcodeTable& table) {
  add_logic<bool>(table, "pred");
  add_logic<uint16_t>(table, "b16");
  add_logic<uint32_t>(table, "b32");
  add_logic<uint64_t>(table, "b64");
  add_shifts<uint16_t>(table, 16);
  add_shifts<uint32_t>(table, 32);
  add_shifts<uint64_t>(table, 64);
  add_fields<uint32_t>(table, 32);
  add_fields<uint64_t>(table, 64);
  table.add<[](uint32_t a, uint32_t b, uint32_t s) { return permuted(a, b, s); }>("prmt.b32");
  table.add<[](uint32_t a, uint32_t b, uint32_t c, uint32_t t) { return lookup3(a, b, c, t); }>(
      "lop3.b32");
  // Funnel shifts of the pair {b, a}; the left one keeps the high word, the right one the low word.
  table.add<[](uint32_t a, uint32_t b, uint32_t n) -> uint32_t {
    return static_cast<uint32_t>(((uint64_t{b} << 32 | a) << (n & 31)) >> 32);
  }>("shf.l.wrap.b32");
  table.add<[](uint32_t a, uint32_t b, uint32_t n) -> uint32_t {
    return static_cast<uint32_t>((uint64_t{b} << 32 | a) >> (n & 31));
  }>("shf.r.wrap.b32");
  table.add<[](uint32_t a, uint32_t b, uint32_t n) -> uint32_t {
    return n >= 32 ? a : static_cast<uint32_t>(((uint64_t{b} << 32 | a) << n) >> 32);
  }>("shf.l.clamp.b32");
  table.add<[](uint32_t a, uint32_t b, uint32_t n) -> uint32_t {
    return n >= 32 ? b : static_cast<uint32_t>((uint64_t{b} << 32 | a) >> n);
  }>("shf.r.clamp.b32");
}

}  // namespace nvfp4::emulator
