// SPDX-License-Identifier: Apache-2.0
// Packs layers straight from their files, a piece at a time: 64 rows of codes and scales are read
// into a thread's own buffer, packed, and handed on while they are still in its cache. Beside the
// output this takes less than 5 MB a thread, however large the checkpoint is.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "runtime/checkpoint.h"

namespace nvfp4 {

/// A block of a layer, e.g. one rank's share of it: rows (split N) and k (split K).
struct LayerSlice {
  int64_t row = 0;
  int64_t rows = 0;
  int64_t k = 0;      ///< a multiple of 16
  int64_t depth = 0;  ///< of k; a multiple of 16
};
LayerSlice whole_layer(const Nvfp4Layer& layer);

/// A part of a slice that is contiguous in its packed form.
struct PackPiece {
  LayerSlice block;   ///< of the layer
  int64_t begin = 0;  ///< in the packed slice
  int64_t bytes = 0;
};

constexpr int64_t kPieceK = 65536;  ///< 64 rows of it are 2.3 MB

/// The pieces of one slice, in the order of their packed bytes.
class PackPieces {
 public:
  explicit PackPieces(const LayerSlice& slice);
  int64_t count() const;
  PackPiece operator[](int64_t index) const;

 private:
  LayerSlice slice_;
  int64_t pieces_k_ = 0;
};

/// Called from several threads, for each piece once, in no fixed order: piece `index` of layer
/// `layer` (an index into what was asked for) has become `packed`.
using PieceSink =
    std::function<void(int64_t layer, int64_t index, const PackPiece&, std::span<uint8_t> packed)>;

/// Where a piece of layer `layer` is to be packed, piece.bytes long. From several threads.
using PieceTarget = std::function<std::span<uint8_t>(int64_t layer, const PackPiece&)>;

struct LayerToPack {
  const Nvfp4Layer* layer = nullptr;
  LayerSlice slice;
};

/// Packs on `threads` threads. Throws CheckpointError for a slice beyond its layer or a NaN scale
/// (the first in order), SafetensorsError when a file cannot be read, and what `sink` throws.
/// `packed` is the thread's own until `sink` returns.
void pack_layers(std::span<const LayerToPack> layers, int threads, const PieceSink& sink);

/// The same to where `target` says.
void pack_layers(std::span<const LayerToPack> layers, int threads, const PieceTarget& target);

/// One slice, in memory; `out` holds packed_bytes(slice.rows, slice.depth).
void pack_layer(const Nvfp4Layer& layer, const LayerSlice& slice, std::span<uint8_t> out,
                int threads);

/// A whole stack, in memory; `out` holds checkpoint.packed_bytes(stack).
void pack_stack(const Checkpoint& checkpoint, const LayerStack& stack, std::span<uint8_t> out,
                int threads);

}  // namespace nvfp4
