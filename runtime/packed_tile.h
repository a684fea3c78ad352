// SPDX-License-Identifier: Apache-2.0
// One 64 x 64 tile between the checkpoint's order of bytes and that of templates/packed_layout.h.
// Nothing here knows a matrix: edges, padding and refusals are pack.cpp's.
#pragma once

#include <cstdint>

#include "templates/packed_layout.h"

namespace nvfp4 {

constexpr int kTileSteps = kTileK / kBlockSize;  ///< k steps of a tile, each one block scale wide
constexpr int kBlockBytes = kBlockSize / 2;      ///< codes of one block: one 64-bit word

constexpr uint8_t kNoScale = 0xff;  ///< what packed_scale and unpacked_scale give for no number

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
