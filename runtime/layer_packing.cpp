// SPDX-License-Identifier: Apache-2.0
// Threads take the next piece in order, so that a disk is read forward and the first bad piece is
// always among those that were tried.
#include "runtime/layer_packing.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>
#include <utility>

#include "generator/problem.h"
#include "runtime/nan_scale.h"
#include "runtime/pack.h"
#include "runtime/parallel.h"
#include "runtime/quoted_name.h"

namespace nvfp4 {
namespace {

/// The buffers of one thread.
class PiecePacker {
 public:
  /// Packs into `out`.
  void pack(const Nvfp4Layer& layer, const PackPiece& piece, std::span<uint8_t> out) {
    const LayerSlice& block = piece.block;
    read(layer.codes, block, layer.k / 2, block.k / 2, block.depth / 2, codes_);
    read(layer.scales, block, layer.k / kBlockSize, block.k / kBlockSize, block.depth / kBlockSize,
         scales_);
    if (const std::optional<size_t> nan = find_nan_scale(scales_)) {
      const auto at = static_cast<int64_t>(*nan);
      const int64_t blocks = block.depth / kBlockSize, row_blocks = layer.k / kBlockSize;
      const int64_t index =
          (block.row + at / blocks) * row_blocks + block.k / kBlockSize + at % blocks;
      throw CheckpointError(nan_scale_text(layer.name, scales_[at], index, row_blocks));
    }
    nvfp4::pack(codes_, scales_, block.rows, block.depth, out, 1, layer.name);
  }

  /// The same into the thread's own memory.
  std::span<uint8_t> pack(const Nvfp4Layer& layer, const PackPiece& piece) {
    packed_.resize(piece.bytes);
    pack(layer, piece, packed_);
    return packed_;
  }

 private:
  // Rows of `row_bytes`, of which `bytes` from `offset` are wanted.
  static void read(const TensorPlace& place, const LayerSlice& block, int64_t row_bytes,
                   int64_t offset, int64_t bytes, std::vector<uint8_t>& out) {
    out.resize(block.rows * bytes);
    const std::span<uint8_t> all(out);
    if (bytes == row_bytes) return place.file->read(*place.tensor, block.row * row_bytes, all);
    for (int64_t row = 0; row < block.rows; ++row) {
      place.file->read(*place.tensor, (block.row + row) * row_bytes + offset,
                       all.subspan(row * bytes, bytes));
    }
  }

  std::vector<uint8_t> codes_, scales_, packed_;
};

void check_slice(const Nvfp4Layer& layer, const LayerSlice& s) {
  const bool inside = s.row >= 0 && s.rows >= 1 && s.rows <= layer.n - s.row && s.k >= 0 &&
                      s.depth >= 1 && s.depth <= layer.k - s.k;
  if (!inside || s.k % kBlockSize != 0 || s.depth % kBlockSize != 0) {
    throw CheckpointError(fmt::format(
        "{}: rows {}+{} and k {}+{} are no slice of {} x {} in blocks of {}", printable(layer.name),
        s.row, s.rows, s.k, s.depth, layer.n, layer.k, kBlockSize));
  }
}

void check_out(std::string_view name, size_t bytes, int64_t needed) {
  if (std::cmp_equal(bytes, needed)) return;
  throw CheckpointError(fmt::format("{}: room for {} bytes of packed weights where {} are needed",
                                    printable(name), bytes, needed));
}

/// Calls body(packer, layer, index, piece) for every piece, each thread with a packer of its own.
template <class Body>
void for_each_piece(std::span<const LayerToPack> layers, int threads, const Body& body) {
  std::vector<int64_t> ends;  // of the layers' pieces, all counted together
  for (const LayerToPack& l : layers) {
    check_slice(*l.layer, l.slice);
    ends.push_back((ends.empty() ? 0 : ends.back()) + PackPieces(l.slice).count());
  }
  const int64_t total = ends.empty() ? 0 : ends.back();
  std::atomic<int64_t> next = 0;
  std::mutex mutex;
  std::pair<int64_t, std::exception_ptr> error = {total, nullptr};
  const auto work = [&](int64_t) {
    PiecePacker packer;
    for (int64_t at = next++; at < total; at = next++) {
      try {
        const int64_t layer = std::upper_bound(ends.begin(), ends.end(), at) - ends.begin();
        const int64_t index = at - (layer == 0 ? 0 : ends[layer - 1]);
        body(packer, layer, index, PackPieces(layers[layer].slice)[index]);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (at < error.first) error = {at, std::current_exception()};
        next = total;
      }
    }
  };
  const int64_t workers = std::clamp<int64_t>(threads, 1, std::max<int64_t>(total, 1));
  parallel_for(workers, static_cast<int>(workers), work);
  if (error.second) std::rethrow_exception(error.second);
}

}  // namespace

LayerSlice whole_layer(const Nvfp4Layer& layer) { return {.rows = layer.n, .depth = layer.k}; }

PackPieces::PackPieces(const LayerSlice& slice)
    : slice_(slice), pieces_k_((slice.depth + kPieceK - 1) / kPieceK) {}

int64_t PackPieces::count() const { return (slice_.rows + kTileRows - 1) / kTileRows * pieces_k_; }

PackPiece PackPieces::operator[](int64_t index) const {
  const int64_t row = index / pieces_k_ * kTileRows, k = index % pieces_k_ * kPieceK;
  const LayerSlice block{.row = slice_.row + row,
                         .rows = std::min<int64_t>(kTileRows, slice_.rows - row),
                         .k = slice_.k + k,
                         .depth = std::min(kPieceK, slice_.depth - k)};
  return {.block = block,
          .begin = nvfp4::packed_bytes(row, slice_.depth) + nvfp4::packed_bytes(kTileRows, k),
          .bytes = nvfp4::packed_bytes(block.rows, block.depth)};
}

void pack_layers(std::span<const LayerToPack> layers, int threads, const PieceSink& sink) {
  for_each_piece(layers, threads,
                 [&](PiecePacker& packer, int64_t layer, int64_t index, const PackPiece& piece) {
                   sink(layer, index, piece, packer.pack(*layers[layer].layer, piece));
                 });
}

void pack_layers(std::span<const LayerToPack> layers, int threads, const PieceTarget& target) {
  for_each_piece(layers, threads,
                 [&](PiecePacker& packer, int64_t layer, int64_t, const PackPiece& piece) {
                   packer.pack(*layers[layer].layer, piece, target(layer, piece));
                 });
}

void pack_layer(const Nvfp4Layer& layer, const LayerSlice& slice, std::span<uint8_t> out,
                int threads) {
  check_slice(layer, slice);
  check_out(layer.name, out.size(), nvfp4::packed_bytes(slice.rows, slice.depth));
  const LayerToPack one{&layer, slice};
  pack_layers({&one, 1}, threads, PieceTarget([&](int64_t, const PackPiece& piece) {
                return out.subspan(piece.begin, piece.bytes);
              }));
}

void pack_stack(const Checkpoint& checkpoint, const LayerStack& stack, std::span<uint8_t> out,
                int threads) {
  check_out(stack.name, out.size(), checkpoint.packed_bytes(stack));
  std::vector<LayerToPack> parts;
  std::vector<int64_t>
      begins;  // a part starts on a tile, so its packed bytes follow the last one's
  int64_t begin = 0;
  for (int part : stack.parts) {
    const Nvfp4Layer& layer = checkpoint.layers()[part];
    parts.push_back({&layer, whole_layer(layer)});
    begins.push_back(begin);
    begin += nvfp4::packed_bytes(layer.n, layer.k);
  }
  pack_layers(parts, threads, PieceTarget([&](int64_t part, const PackPiece& piece) {
                return out.subspan(begins[part] + piece.begin, piece.bytes);
              }));
}

}  // namespace nvfp4
