// SPDX-License-Identifier: Apache-2.0
// Writing hashes each piece while it is in a cache; reading trusts nothing that the metadata says
// without comparing it with the tensor.
#include "runtime/packed_file.h"

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>

#include "generator/digest.h"
#include "generator/problem.h"
#include "runtime/layer_packing.h"
#include "runtime/parallel.h"
#include "runtime/quoted_name.h"

namespace nvfp4 {
namespace {

constexpr std::string_view kSourceKey = "nvfp4.source";
constexpr std::string_view kStackKey = "stack:";
constexpr size_t kSampledBytes = 1024;
constexpr size_t kMaxParts = 16;

std::string stack_text(const PackedStack& stack) {
  std::string rows, scales;
  for (const PackedStack::Part& part : stack.parts) {
    rows += fmt::format("{}{}", rows.empty() ? "" : ",", part.rows);
    scales += fmt::format("{}{:08x}", scales.empty() ? "" : ",",
                          std::bit_cast<uint32_t>(part.global_scale));
  }
  return fmt::format("k={} rows={} global_scales={} xxh3={:016x}", stack.k, rows, scales,
                     stack.checksum);
}

template <class Number>
std::optional<Number> take_number(std::string_view& text, int base) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(end - text.data());
  return value;
}

bool take(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

// The inverse of stack_text, without the name and the tensor.
std::optional<PackedStack> parse_stack(std::string_view text) {
  PackedStack stack;
  if (!take(text, "k=")) return std::nullopt;
  const auto k = take_number<int64_t>(text, 10);
  if (!k || !take(text, " rows=")) return std::nullopt;
  stack.k = *k;
  do {
    const auto rows = take_number<int64_t>(text, 10);
    if (!rows || shape_error(*rows, stack.k) || stack.parts.size() == kMaxParts) {
      return std::nullopt;
    }
    stack.parts.push_back({.rows = *rows});
  } while (take(text, ","));
  if (shape_error(stack.stacked_rows(), stack.k)) return std::nullopt;
  for (size_t i = 0; i < stack.parts.size(); ++i) {
    if (!take(text, i == 0 ? " global_scales=" : ",")) return std::nullopt;
    const auto bits = take_number<uint32_t>(text, 16);
    if (!bits) return std::nullopt;
    stack.parts[i].global_scale = std::bit_cast<float>(*bits);
    if (!std::isfinite(stack.parts[i].global_scale) || stack.parts[i].global_scale <= 0) {
      return std::nullopt;
    }
  }
  if (!take(text, " xxh3=")) return std::nullopt;
  const auto checksum = take_number<uint64_t>(text, 16);
  if (!checksum || !text.empty()) return std::nullopt;
  stack.checksum = *checksum;
  return stack;
}

/// A part starts on a row tile, so its pieces are pieces of the whole.
PackPieces pieces_of(const PackedStack& stack) {
  return PackPieces({.rows = stack.stacked_rows(), .depth = stack.k});
}

uint64_t checksum_of(const std::vector<uint64_t>& pieces) {
  return XXH3_64bits(pieces.data(), pieces.size() * sizeof(uint64_t));
}

TensorEntry tensor_of(const PackedStack& stack) {
  return {.name = stack.name,
          .shape = {padded_rows(stack.stacked_rows()) / kTileRows, (stack.k + kTileK - 1) / kTileK,
                    kTileBytes}};
}

Metadata metadata_of(const std::vector<PackedStack>& stacks, const std::string& source) {
  Metadata metadata = {{kPackedLayoutKey, std::to_string(kLayoutVersion)},
                       {std::string(kSourceKey), source}};
  for (const PackedStack& stack : stacks) {
    metadata.emplace_back(std::string(kStackKey) + stack.name, stack_text(stack));
  }
  return metadata;
}

void check_packable(const Checkpoint& checkpoint) {
  if (!checkpoint.problems().empty()) {
    throw CheckpointError(fmt::format("{} problems in the checkpoint; the first: {}",
                                      checkpoint.problems().size(), checkpoint.problems()[0]));
  }
  if (checkpoint.layers().empty()) throw CheckpointError("the checkpoint has no NVFP4 layers");
}

}  // namespace

int64_t PackedStack::stacked_rows() const {
  int64_t rows = 0;
  for (const Part& part : parts) rows = padded_rows(rows) + part.rows;
  return rows;
}

std::vector<float> PackedStack::tile_scales() const {
  std::vector<float> scales;
  for (const Part& part : parts) {
    scales.insert(scales.end(), padded_rows(part.rows) / kTileRows, part.global_scale);
  }
  return scales;
}

PackedFile::PackedFile(const std::filesystem::path& path) : file_(path) {
  const auto fail = [&](const std::string& what) {
    throw PackedFileError(fmt::format("{}: {}", file_.path(), what));
  };
  const std::string* const layout = file_.metadata(kPackedLayoutKey);
  const std::string* const source = file_.metadata(kSourceKey);
  if (layout == nullptr || source == nullptr) fail("no file of packed NVFP4 weights");
  if (*layout != std::to_string(kLayoutVersion)) {
    fail(fmt::format("layout {}, where this program has {}", printable(*layout), kLayoutVersion));
  }
  source_ = *source;
  for (const TensorEntry& tensor : file_.tensors()) {
    const std::string* const text = file_.metadata(std::string(kStackKey) + tensor.name);
    std::optional<PackedStack> stack;
    if (text != nullptr) stack = parse_stack(*text);
    if (!stack) fail(fmt::format("tensor {} is not described", quoted_name(tensor.name)));
    stack->name = tensor.name;
    stack->tensor = &tensor;
    const TensorEntry wanted = tensor_of(*stack);
    if (tensor.dtype != wanted.dtype || tensor.shape != wanted.shape) {
      fail(fmt::format("tensor {} is {}, not {}", quoted_name(tensor.name), type_text(tensor),
                       type_text(wanted)));
    }
    stacks_.push_back(std::move(*stack));
  }
}

std::vector<std::string> PackedFile::damaged(int threads) const {
  std::vector<std::string> names;
  for (const PackedStack& stack : stacks_) {
    const PackPieces pieces = pieces_of(stack);
    std::vector<uint64_t> hashes(pieces.count());
    parallel_for(pieces.count(), threads, [&](int64_t i) {
      const PackPiece piece = pieces[i];
      std::vector<uint8_t> bytes(piece.bytes);
      file_.read(*stack.tensor, piece.begin, bytes);
      hashes[i] = XXH3_64bits(bytes.data(), bytes.size());
    });
    if (checksum_of(hashes) != stack.checksum) names.push_back(stack.name);
  }
  return names;
}

std::string source_digest(const Checkpoint& checkpoint) {
  Digest digest("nvfp4 packed file source");
  for (const Nvfp4Layer& layer : checkpoint.layers()) {
    std::vector<uint8_t> sample(
        std::min<size_t>(kSampledBytes, static_cast<size_t>(layer.scales.tensor->bytes)));
    layer.scales.file->read(*layer.scales.tensor, 0, sample);
    digest.field("layer", layer.name)
        .field("n", layer.n)
        .field("k", layer.k)
        .field("global_scale", int64_t{std::bit_cast<uint32_t>(layer.global_scale)})
        .field("scales", {reinterpret_cast<const char*>(sample.data()), sample.size()});
  }
  return digest.hex();
}

void write_packed_file(const Checkpoint& checkpoint, const std::filesystem::path& path,
                       const PackOptions& options) {
  check_packable(checkpoint);
  std::vector<PackedStack> stacks;
  std::vector<TensorEntry> tensors;
  std::vector<LayerToPack> layers;
  struct Target {
    size_t stack;
    int64_t begin;        // of the layer in its stack's bytes
    int64_t first_piece;  // of the stack
  };
  std::vector<Target> targets;
  for (const LayerStack& from : checkpoint.stacks()) {
    PackedStack stack{.name = from.name, .k = from.k};
    for (int part : from.parts) {
      const Nvfp4Layer& layer = checkpoint.layers()[part];
      const int64_t rows = stack.stacked_rows();
      targets.push_back({stacks.size(), packed_bytes(rows, stack.k), pieces_of(stack).count()});
      layers.push_back({&layer, whole_layer(layer)});
      stack.parts.push_back({.rows = layer.n, .global_scale = layer.global_scale});
    }
    tensors.push_back(tensor_of(stack));
    stacks.push_back(std::move(stack));
  }
  const std::string source = source_digest(checkpoint);
  SafetensorsWriter writer(path, std::move(tensors), metadata_of(stacks, source));
  std::vector<std::vector<uint64_t>> checksums(stacks.size());
  for (size_t i = 0; i < stacks.size(); ++i) {
    checksums[i].resize(pieces_of(stacks[i]).count());
  }
  pack_layers(layers, options.threads,
              [&](int64_t layer, int64_t index, const PackPiece& piece, std::span<uint8_t> packed) {
                if (options.stopped && options.stopped()) throw CheckpointError("interrupted");
                const Target& target = targets[layer];
                checksums[target.stack][target.first_piece + index] =
                    XXH3_64bits(packed.data(), packed.size());
                writer.write(writer.tensors()[target.stack], target.begin + piece.begin, packed);
              });
  for (size_t i = 0; i < stacks.size(); ++i) stacks[i].checksum = checksum_of(checksums[i]);
  writer.publish(metadata_of(stacks, source));
}

}  // namespace nvfp4
