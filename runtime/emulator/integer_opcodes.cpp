// SPDX-License-Identifier: Apache-2.0
// Integer arithmetic. Division by zero, which PTX leaves open, gives all ones and the remainder the
// dividend, as on the device.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <type_traits>

#include "runtime/emulator/opcode_table.h"

namespace nvfp4::emulator {
namespace {

template <class T>
T quotient(T a, T b) {
  if (b == 0) return static_cast<T>(~T{0});
  if constexpr (std::is_signed_v<T>) {
    if (b == -1) return static_cast<T>(-static_cast<std::make_unsigned_t<T>>(a));
  }
  return static_cast<T>(a / b);
}

template <class T>
T remainder(T a, T b) {
  if (b == 0) return a;
  if constexpr (std::is_signed_v<T>) {
    if (b == -1) return 0;
  }
  return static_cast<T>(a % b);
}

template <class T>
T high_product(T a, T b) {
  using Wide =
      std::conditional_t<sizeof(T) == 8,
                         std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>,
                         std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>;
  return static_cast<T>((static_cast<Wide>(a) * static_cast<Wide>(b)) >> (8 * sizeof(T)));
}

// What does not depend on the sign: `U` is unsigned, `bits` its width.
template <class U>
void add_modular(OpcodeTable& table, int bits) {
  const auto names = [bits](const char* opcode) {
    return fmt::format("{0}.u{1} {0}.s{1}", opcode, bits);
  };
  // 16-bit operands are widened first: as int their product could overflow.
  using Wide = std::conditional_t<sizeof(U) == 8, uint64_t, uint32_t>;
  table.add<[](U a, U b) -> U { return a + b; }>(names("add"));
  table.add<[](U a, U b) -> U { return a - b; }>(names("sub"));
  table.add<[](U a, U b) -> U { return static_cast<U>(Wide{a} * b); }>(names("mul.lo"));
  table.add<[](U a, U b, U c) -> U { return static_cast<U>(Wide{a} * b + c); }>(names("mad.lo"));
}

template <class T>
void add_signed_or_not(OpcodeTable& table, const char* type) {
  const auto name = [type](const char* opcode) { return fmt::format("{}.{}", opcode, type); };
  table.add<[](T a, T b) -> T { return high_product(a, b); }>(name("mul.hi"));
  table.add<[](T a, T b, T c) -> T {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(high_product(a, b)) + static_cast<U>(c));
  }>(name("mad.hi"));
  table.add<[](T a, T b) -> T { return quotient(a, b); }>(name("div"));
  table.add<[](T a, T b) -> T { return remainder(a, b); }>(name("rem"));
  table.add<[](T a, T b) -> T { return std::min(a, b); }>(name("min"));
  table.add<[](T a, T b) -> T { return std::max(a, b); }>(name("max"));
  table.add<[](T a, T b, T c) -> T {
    using U = std::make_unsigned_t<T>;
    const U difference =
        a < b ? static_cast<U>(b) - static_cast<U>(a) : static_cast<U>(a) - static_cast<U>(b);
    return static_cast<T>(difference + static_cast<U>(c));
  }>(name("sad"));
}

// Products of twice the width.
template <class T, class Wide>
void add_wide(OpcodeTable& table, const char* type) {
  using UnsignedWide = std::make_unsigned_t<Wide>;
  table.add<[](T a, T b) -> Wide { return static_cast<Wide>(a) * static_cast<Wide>(b); }>(
      fmt::format("mul.wide.{}", type));
  table.add<[](T a, T b, Wide c) -> Wide {
    return static_cast<Wide>(
        static_cast<UnsignedWide>(static_cast<Wide>(a) * static_cast<Wide>(b)) +
        static_cast<UnsignedWide>(c));
  }>(fmt::format("mad.wide.{}", type));
}

template <class T>
void add_signed(OpcodeTable& table, int bits) {
  using U = std::make_unsigned_t<T>;
  table
      .add<[](T a) -> T { return static_cast<T>(a < 0 ? -static_cast<U>(a) : static_cast<U>(a)); }>(
          fmt::format("abs.s{}", bits));
  table.add<[](T a) -> T { return static_cast<T>(-static_cast<U>(a)); }>(
      fmt::format("neg.s{}", bits));
}

template <class A, class B, class C>
C dot_of_bytes(uint32_t a, uint32_t b, C c) {
  uint32_t sum = static_cast<uint32_t>(c);
  for (int byte = 0; byte < 4; ++byte) {
    const int x = static_cast<A>(a >> (8 * byte));
    const int y = static_cast<B>(b >> (8 * byte));
    sum += static_cast<uint32_t>(x * y);
  }
  return static_cast<C>(sum);
}

}  // namespace

void add_integer_opcodes(OpcodeTable& table) {
  add_modular<uint16_t>(table, 16);
  add_modular<uint32_t>(table, 32);
  add_modular<uint64_t>(table, 64);
  add_signed_or_not<uint16_t>(table, "u16");
  add_signed_or_not<int16_t>(table, "s16");
  add_signed_or_not<uint32_t>(table, "u32");
  add_signed_or_not<int32_t>(table, "s32");
  add_signed_or_not<uint64_t>(table, "u64");
  add_signed_or_not<int64_t>(table, "s64");
  add_wide<uint16_t, uint32_t>(table, "u16");
  add_wide<int16_t, int32_t>(table, "s16");
  add_wide<uint32_t, uint64_t>(table, "u32");
  add_wide<int32_t, int64_t>(table, "s32");
  add_signed<int16_t>(table, 16);
  add_signed<int32_t>(table, 32);
  add_signed<int64_t>(table, 64);
  table.add<[](uint32_t a, uint32_t b, uint32_t c) {
    return dot_of_bytes<uint8_t, uint8_t>(a, b, c);
  }>("dp4a.u32.u32");
  table
      .add<[](uint32_t a, uint32_t b, int32_t c) { return dot_of_bytes<int8_t, int8_t>(a, b, c); }>(
          "dp4a.s32.s32");
  table.add<[](uint32_t a, uint32_t b, int32_t c) {
    return dot_of_bytes<uint8_t, int8_t>(a, b, c);
  }>("dp4a.u32.s32");
  table.add<[](uint32_t a, uint32_t b, int32_t c) {
    return dot_of_bytes<int8_t, uint8_t>(a, b, c);
  }>("dp4a.s32.u32");
}

}  // namespace nvfp4::emulator
