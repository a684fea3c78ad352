// SPDX-License-Identifier: Apache-2.0
// One 64 x 64 tile between the checkpoint's order of bytes and that of templates/packed_layout.h.
// Nothing here knows a matrix: edges, padding and refusals are pack.cpp's.
#pragma once

#include <bit>
#include <cstdint>

#include "runtime/numerics.h"
#include "templates/packed_layout.h"

namespace nvfp4 {

constexpr int kTileSteps = kTileK / kBlockSize;  ///< k steps of a tile, each one block scale wide
constexpr int kBlockBytes = kBlockSize / 2;      ///< codes of one block: one 64-bit word

constexpr uint8_t kNoScale = 0xff;  ///< an E5M3 byte that no E4M3 number has

/// E4M3 magnitudes as the layout's E5M3 bytes: the exponent moves by 15, subnormals become normal.
/// A NaN gives kNoScale.
constexpr uint8_t packed_scale(uint8_t code) {
  const int magnitude = code & 0x7f;
  if (e4m3_is_nan(code)) return kNoScale;
  if (magnitude == 0) return 0;
  if (magnitude >= 8) return static_cast<uint8_t>(magnitude + (15 << 3));
  const int exponent = std::bit_width(static_cast<unsigned>(magnitude)) - 1;  // of magnitude * 2^-9
  const int mantissa = (magnitude << (3 - exponent)) & 7;
  return static_cast<uint8_t>((exponent - 9 + 22) << 3 | mantissa);
}

/// One tile row by row. To be packed it holds E5M3 scales, and zero codes under a zero scale.
struct CheckpointTile {
  alignas(64) uint64_t blocks[kTileRows][kTileSteps];  ///< codes, eight bytes a block
  alignas(64) uint8_t scales[kTileRows][kTileSteps];
};

/// Writes the kTileBytes of a tile.
void pack_tile(const CheckpointTile& tile, uint8_t* packed);

/// Reads them back; scales become positive E4M3 codes, or kNoScale for bytes that stand for none.
void unpack_tile(const uint8_t* packed, CheckpointTile& tile);

}  // namespace nvfp4
