// SPDX-License-Identifier: Apache-2.0
// How one lane's value of a C++ type lies in a register cell, and the loops that compute an
// instruction for all lanes of a warp. The loops are written so that the compiler vectorises them:
// plain arrays, no aliasing between different lanes, a select instead of a branch for masked lanes.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <type_traits>

namespace nvfp4::emulator {

template <class T>
using LaneCell = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

template <class T>
inline T from_cell(LaneCell<T> cell) {
  if constexpr (std::is_same_v<T, bool>) {
    return cell != 0;
  } else if constexpr (std::is_floating_point_v<T>) {
    return std::bit_cast<T>(cell);
  } else {
    return static_cast<T>(cell);
  }
}

template <class T>
inline LaneCell<T> to_cell(T value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? ~0u : 0u;
  } else if constexpr (std::is_floating_point_v<T>) {
    return std::bit_cast<LaneCell<T>>(value);
  } else {
    return static_cast<std::make_unsigned_t<T>>(value);
  }
}

template <class Cell>
constexpr std::array<Cell, 32> kLaneBit = [] {
  std::array<Cell, 32> bits{};
  for (int lane = 0; lane < 32; ++lane) bits[lane] = Cell{1} << lane;
  return bits;
}();

/// destination[lane] = value(lane) for the lanes of `mask`. `value` is called for all 32 lanes, so
/// it must be harmless for any operand.
template <class Cell, class Value>
inline void write_lanes(uint32_t mask, Cell* destination, Value&& value) {
  if (mask == ~0u) {
#pragma GCC ivdep
    for (int lane = 0; lane < 32; ++lane) destination[lane] = value(lane);
  } else {
#pragma GCC ivdep
    for (int lane = 0; lane < 32; ++lane) {
      const Cell computed = value(lane);
      destination[lane] = (mask & kLaneBit<Cell>[lane]) != 0 ? computed : destination[lane];
    }
  }
}

/// Calls body(lane) for each lane of `mask`, lowest first.
template <class Body>
inline void for_each_lane(uint32_t mask, Body&& body) {
  for (; mask != 0; mask &= mask - 1) body(std::countr_zero(mask));
}

}  // namespace nvfp4::emulator
