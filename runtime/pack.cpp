// SPDX-License-Identifier: Apache-2.0
// Walks a matrix tile by tile: folds each scale's sign and zero into its codes, pads the edges, and
// refuses what has no packed form. The order of bytes within a tile is packed_tile's.
#include "runtime/pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>

#include "generator/problem.h"
#include "runtime/numerics.h"
#include "runtime/packed_tile.h"
#include "runtime/parallel.h"

namespace nvfp4 {
namespace {

constexpr int kPrefetchBytes = 128;  // two cache lines ahead in every row

/// What a scale byte does to its block: the byte to store, and what happens to the block's codes.
struct ScaleRule {
  uint64_t keep = ~0ull;  ///< 0 where the scale is zero
  uint64_t flip = 0;      ///< every sign bit where the scale is negative
  uint8_t packed = 0;
};

constexpr std::array<ScaleRule, 256> kScaleRules = [] {
  std::array<ScaleRule, 256> rules{};
  for (int code = 0; code < 256; ++code) {
    rules[code] = {.keep = (code & 0x7f) == 0 ? 0 : ~0ull,
                   .flip = code >= 0x80 ? 0x8888888888888888ull : 0,
                   .packed = static_cast<uint8_t>(packed_scale(code))};
  }
  return rules;
}();

/// A matrix in blocks and tiles, and the part of it that one tile covers.
struct Extent {
  int64_t n;
  int64_t k;
  int64_t blocks() const { return k / kBlockSize; }
  int64_t tile_rows() const { return (n + kTileRows - 1) / kTileRows; }
  int64_t tiles_k() const { return (k + kTileK - 1) / kTileK; }
  /// Index in the scales of a tile row's first block.
  int64_t block(int64_t tile_row, int row, int64_t tile_k) const {
    return (tile_row * kTileRows + row) * blocks() + tile_k * kTileSteps;
  }
  int rows(int64_t tile_row) const {
    return static_cast<int>(std::min<int64_t>(kTileRows, n - tile_row * kTileRows));
  }
  int steps(int64_t tile_k) const {
    return static_cast<int>(std::min<int64_t>(kTileSteps, blocks() - tile_k * kTileSteps));
  }
};

void check_shape(std::string_view name, int64_t n, int64_t k) {
  if (const std::optional<std::string> error = shape_error(n, k)) {
    throw PackError(fmt::format("{}: {}", name, *error));
  }
}

void check_bytes(std::string_view name, std::string_view what, size_t bytes, int64_t needed) {
  if (bytes != static_cast<size_t>(needed)) {
    throw PackError(
        fmt::format("{}: {} bytes of {} where {} are needed", name, bytes, what, needed));
  }
}

void check_sizes(std::string_view name, int64_t n, int64_t k, size_t codes, size_t scales,
                 size_t packed) {
  check_shape(name, n, k);
  check_bytes(name, "codes", codes, n * (k / 2));
  check_bytes(name, "block scales", scales, n * (k / kBlockSize));
  check_bytes(name, "packed weights", packed, packed_bytes(n, k));
}

[[noreturn]] void refuse_nan_scale(const CheckpointMatrix& matrix, int64_t row) {
  int64_t block = 0;
  const uint8_t* scales = matrix.scales + row * matrix.scales_stride;
  while (!e4m3_is_nan(scales[block])) {
    if (++block < matrix.k / kBlockSize) continue;
    block = 0;
    scales += matrix.scales_stride;
    ++row;
  }
  throw PackError(fmt::format("{}: block scale {:#04x} at row {}, block {} is NaN", matrix.name,
                              scales[block], row, block));
}

/// Copies one tile of the checkpoint, padded with zeros, with each scale's sign and zero folded
/// into its codes. False when a scale is NaN.
bool fold_tile(const CheckpointMatrix& matrix, const Extent& extent, int64_t tile_row,
               int64_t tile_k, CheckpointTile& tile) {
  const int rows = extent.rows(tile_row);
  const int steps = extent.steps(tile_k);
  if (rows < kTileRows || steps < kTileSteps) tile = CheckpointTile{};
  bool numbers = true;
  for (int row = 0; row < rows; ++row) {
    const int64_t at = tile_row * kTileRows + row;
    const uint8_t* codes = matrix.codes + at * matrix.codes_stride + tile_k * (kTileK / 2);
    const uint8_t* scales = matrix.scales + at * matrix.scales_stride + tile_k * kTileSteps;
    // 64 rows are 64 streams, more than a CPU follows by itself: 1.8 -> 3.0 GB/s a core (Zen 5).
    __builtin_prefetch(codes + kPrefetchBytes);
    for (int step = 0; step < steps; ++step) {
      const ScaleRule& rule = kScaleRules[scales[step]];
      uint64_t block;
      std::memcpy(&block, codes + step * kBlockBytes, sizeof block);
      tile.blocks[row][step] = (block ^ rule.flip) & rule.keep;
      tile.scales[row][step] = rule.packed;
      numbers &= rule.packed != kNoScale;
    }
  }
  return numbers;
}

/// Why pack never wrote these bytes, or null: they would not survive a round trip.
const char* foreign_reason(const CheckpointTile& tile, int rows, int steps) {
  for (int row = 0; row < kTileRows; ++row) {
    for (int step = 0; step < kTileSteps; ++step) {
      const uint8_t scale = tile.scales[row][step];
      if (scale == kNoScale) return "a scale byte that is no E4M3 number";
      if (scale != 0 && (row >= rows || step >= steps)) return "a scale in the padding";
      if (scale == 0 && tile.blocks[row][step] != 0) return "codes under a zero scale";
    }
  }
  return nullptr;
}

}  // namespace

void pack(const CheckpointMatrix& matrix, std::span<uint8_t> out, int threads) {
  check_shape(matrix.name, matrix.n, matrix.k);
  check_bytes(matrix.name, "packed weights", out.size(), packed_bytes(matrix.n, matrix.k));
  const Extent extent{matrix.n, matrix.k};
  parallel_for(extent.tile_rows(), threads, [&](int64_t tile_row) {
    CheckpointTile tile;
    for (int64_t tile_k = 0; tile_k < extent.tiles_k(); ++tile_k) {
      if (!fold_tile(matrix, extent, tile_row, tile_k, tile)) {
        refuse_nan_scale(matrix, tile_row * kTileRows);
      }
      pack_tile(tile, &out[(tile_row * extent.tiles_k() + tile_k) * kTileBytes]);
    }
  });
}

void pack(std::span<const uint8_t> codes, std::span<const uint8_t> scales, int64_t n, int64_t k,
          std::span<uint8_t> out, int threads, std::string_view name) {
  check_sizes(name, n, k, codes.size(), scales.size(), out.size());
  pack({.codes = codes.data(),
        .scales = scales.data(),
        .n = n,
        .k = k,
        .codes_stride = k / 2,
        .scales_stride = k / kBlockSize,
        .name = name},
       out, threads);
}

void unpack(std::span<const uint8_t> packed, int64_t n, int64_t k, std::span<uint8_t> codes,
            std::span<uint8_t> scales, int threads, std::string_view name) {
  check_sizes(name, n, k, codes.size(), scales.size(), packed.size());
  const Extent extent{n, k};
  parallel_for(extent.tile_rows(), threads, [&](int64_t tile_row) {
    CheckpointTile tile;
    for (int64_t tile_k = 0; tile_k < extent.tiles_k(); ++tile_k) {
      const int rows = extent.rows(tile_row);
      const int steps = extent.steps(tile_k);
      unpack_tile(&packed[(tile_row * extent.tiles_k() + tile_k) * kTileBytes], tile);
      if (const char* reason = foreign_reason(tile, rows, steps)) {
        throw PackError(fmt::format("{}: packed tile at row {}, k {} holds {}", name,
                                    tile_row * kTileRows, tile_k * kTileK, reason));
      }
      for (int row = 0; row < rows; ++row) {
        const int64_t first = extent.block(tile_row, row, tile_k);
        std::memcpy(&codes[first * kBlockBytes], tile.blocks[row], steps * kBlockBytes);
        std::memcpy(&scales[first], tile.scales[row], steps);
      }
    }
  });
}

double decode_packed_weight(std::span<const uint8_t> packed, int64_t n, int64_t k, int64_t row,
                            int64_t col) {
  const Extent extent{n, k};
  check_shape("packed weights", n, k);
  check_bytes("packed weights", "packed weights", packed.size(), packed_bytes(n, k));
  if (row < 0 || row >= n || col < 0 || col >= k) {
    throw PackError(fmt::format("no weight at row {}, k {} of {} x {}", row, col, n, k));
  }
  const uint8_t* const tile =
      &packed[(row / kTileRows * extent.tiles_k() + col / kTileK) * kTileBytes];
  const int unit = static_cast<int>(row % kTileRows / 16);
  const int unit_row = static_cast<int>(row % 16);
  const int step = static_cast<int>(col % kTileK / kBlockSize);
  const int step_k = static_cast<int>(col % kBlockSize);

  const int lane = unit_row % 8 * 4 + step_k % 8 / 2;
  const int slot = unit_row / 8 + 2 * (step_k / 8);
  const int half = step_k % 2;
  uint16_t bits;
  std::memcpy(&bits, tile + unit * kUnitCodeBytes + lane * 16 + step * 4 + half * 2, sizeof bits);
  int code = 0;
  for (int bit = 0; bit < 4; ++bit) code |= (bits >> code_bit_position(slot, bit) & 1) << bit;
  const int scale =
      tile[kTileScaleOffset + unit * kUnitScaleBytes + scale_byte_position(unit_row, step)];
  return e2m1_value(static_cast<uint8_t>(code)) * std::ldexp(8 + (scale & 7), (scale >> 3) - 25);
}

}  // namespace nvfp4
