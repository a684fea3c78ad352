// SPDX-License-Identifier: Apache-2.0
// Block scales that are no numbers: quantisers that cast without clamping write them
// (NVIDIA/Model-Optimizer#1633), and one makes NaN of a whole output column.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "runtime/numerics.h"
#include "runtime/quoted_name.h"

namespace nvfp4 {

/// Index of the first 0x7f or 0xff.
inline std::optional<size_t> find_nan_scale(std::span<const uint8_t> scales) {
  size_t i = 0;
  for (; i + 8 <= scales.size(); i += 8) {  // adding one carries into the sign of 0x7f alone
    uint64_t word;
    std::memcpy(&word, &scales[i], sizeof word);
    if (((word & 0x7f7f7f7f7f7f7f7full) + 0x0101010101010101ull) & 0x8080808080808080ull) break;
  }
  for (; i < scales.size(); ++i) {
    if (e4m3_is_nan(scales[i])) return i;
  }
  return std::nullopt;
}

/// "X.weight_scale: 0x7f at row 3, block 5 is NaN", for scale `index` of rows of `row_blocks`.
inline std::string nan_scale_text(std::string_view layer, uint8_t code, int64_t index,
                                  int64_t row_blocks) {
  return fmt::format("{}.weight_scale: {:#04x} at row {}, block {} is NaN", printable(layer), code,
                     index / row_blocks, index % row_blocks);
}

}  // namespace nvfp4
