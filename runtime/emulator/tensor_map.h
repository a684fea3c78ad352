// SPDX-License-Identifier: Apache-2.0
// What a CUtensorMap of the emulated driver says. Its 128 bytes are opaque to programs, so the
// layout is our own; it starts with a mark by which foreign bytes are told apart.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace nvfp4::emulator {

struct TensorMap {
  static constexpr int kMaxRank = 5;
  static constexpr size_t kBytes = 128;

  uint64_t address = 0;                     ///< global
  std::array<uint64_t, kMaxRank> size{};    ///< elements; the first dimension is contiguous
  std::array<uint64_t, kMaxRank> stride{};  ///< bytes between elements of dimensions 1 and up
  std::array<uint16_t, kMaxRank> box{};     ///< elements
  std::array<uint8_t, kMaxRank> step{};     ///< in the tensor, between elements of the box
  uint8_t rank = 0;
  uint8_t element_bytes = 0;
  uint8_t swizzle_bytes = 0;  ///< 0, 32, 64 or 128
  bool interleaved = false;
  bool nan_fill = false;  ///< of elements outside; else zero

  size_t box_bytes() const;
  void encode(void* map) const;
  /// Nothing when `map` was not made by encode.
  static std::optional<TensorMap> decode(const void* map);
};

}  // namespace nvfp4::emulator
