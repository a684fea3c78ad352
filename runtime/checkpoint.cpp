// SPDX-License-Identifier: Apache-2.0
// Opens the files of a checkpoint. Names in an index come from a stranger: a shard is a plain file
// name in the same folder, and what the index says must be so.
#include "runtime/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "generator/problem.h"
#include "runtime/json_text.h"
#include "runtime/layer_finder.h"
#include "runtime/nan_scale.h"
#include "runtime/parallel.h"
#include "runtime/quoted_name.h"

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxShards = 512;  // each is an open file; the largest models have 200
constexpr size_t kScanBytes = size_t{4} << 20;

std::string read_text(const fs::path& path) {
  std::error_code error;
  const std::string shown = printable_path(path.string());
  if (!fs::is_regular_file(path, error)) {
    throw CheckpointError(fmt::format("{}: not a regular file", shown));
  }
  const uintmax_t size = fs::file_size(path, error);
  if (error || size > kMaxJsonBytes) {
    throw CheckpointError(fmt::format("{}: {} bytes exceed {}", shown, size, kMaxJsonBytes));
  }
  std::string text(size, '\0');
  std::ifstream stream(path, std::ios::binary);
  stream.read(text.data(), static_cast<std::streamsize>(size));
  if (stream.gcount() != static_cast<std::streamsize>(size)) {
    throw CheckpointError(fmt::format("{}: cannot be read", shown));
  }
  return text;
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= 255 &&
         name.find_first_of(std::string_view("/\0", 2)) == name.npos;
}

}  // namespace

Checkpoint::Checkpoint(const fs::path& path) {
  std::error_code error;
  const bool folder = fs::is_directory(path, error);
  read_configs(folder ? path : path.parent_path());
  open_files(path);
  if (quantization_) problems_ = quantization_->problems;
  LayerFinder{*this};
}

void Checkpoint::open_files(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    if (path.extension() == ".json") return open_shards(path);
    files_.push_back(std::make_unique<SafetensorsFile>(path));
    return;
  }
  if (fs::exists(path / "model.safetensors.index.json", error)) {
    return open_shards(path / "model.safetensors.index.json");
  }
  std::vector<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) {
    if (entry.path().extension() == ".safetensors") found.push_back(entry.path());
  }
  const fs::path usual = path / "model.safetensors";
  if (std::count(found.begin(), found.end(), usual) > 0) found = {usual};
  if (found.size() != 1) {
    throw CheckpointError(
        fmt::format("{}: {} .safetensors files and no index, where one file is needed",
                    printable_path(path.string()), found.size()));
  }
  files_.push_back(std::make_unique<SafetensorsFile>(found.front()));
}

void Checkpoint::open_shards(const fs::path& index) {
  const std::string shown = printable_path(index.string());
  const nlohmann::json document = parse_json(read_text(index), shown);
  const auto map = document.is_object() ? document.find("weight_map") : document.end();
  if (!document.is_object() || map == document.end() || !map->is_object()) {
    throw CheckpointError(fmt::format("{}: 'weight_map' is missing", shown));
  }
  std::map<std::string, const SafetensorsFile*> shards;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !is_plain_name(file.get<std::string>())) {
      throw CheckpointError(fmt::format("{}: tensor {} is in {}, which is no plain file name",
                                        shown, quoted_name(tensor), printable(file.dump())));
    }
    shards.emplace(file.get<std::string>(), nullptr);
  }
  if (shards.size() > kMaxShards) {
    throw CheckpointError(fmt::format("{}: {} files exceed {}", shown, shards.size(), kMaxShards));
  }
  int64_t tensors = 0;
  for (auto& [name, file] : shards) {
    files_.push_back(std::make_unique<SafetensorsFile>(index.parent_path() / name));
    file = files_.back().get();
    tensors += std::ssize(file->tensors());
  }
  for (const auto& [tensor, file] : map->items()) {
    if (shards.at(file.get<std::string>())->find(tensor) == nullptr) {
      throw CheckpointError(fmt::format("{}: tensor {} is not in {}", shown, quoted_name(tensor),
                                        quoted_name(file.get<std::string>())));
    }
  }
  if (tensors != std::ssize(*map)) {
    throw CheckpointError(
        fmt::format("{}: names {} tensors, its files hold {}", shown, map->size(), tensors));
  }
}

void Checkpoint::read_configs(const fs::path& folder) {
  std::error_code error;
  const fs::path config = folder / "config.json", own = folder / "hf_quant_config.json";
  if (fs::exists(config, error)) {
    config_text_ = read_text(config);
    quantization_ = parse_quantization_config(config_text_, printable_path(config.string()));
  }
  if (!quantization_ && fs::exists(own, error)) {
    quantization_ = parse_quantization_config(read_text(own), printable_path(own.string()));
  }
}

int64_t Checkpoint::stacked_rows(const LayerStack& stack) const {
  int64_t rows = 0;
  for (int part : stack.parts) {
    rows = padded_rows(rows) + layers_[part].n;
  }
  return rows;
}

int64_t Checkpoint::packed_bytes(const LayerStack& stack) const {
  return nvfp4::packed_bytes(stacked_rows(stack), stack.k);
}

std::vector<float> Checkpoint::tile_scales(const LayerStack& stack) const {
  std::vector<float> scales;
  for (int part : stack.parts) {
    const Nvfp4Layer& layer = layers_[part];
    scales.insert(scales.end(), padded_rows(layer.n) / kTileRows, layer.global_scale);
  }
  return scales;
}

std::vector<std::string> find_nan_scales(const Checkpoint& checkpoint, int threads) {
  const std::span<const Nvfp4Layer> layers = checkpoint.layers();
  std::vector<std::string> found(layers.size());
  parallel_for(std::ssize(layers), threads, [&](int64_t i) {
    const TensorPlace& scales = layers[i].scales;
    std::vector<uint8_t> bytes(std::min<size_t>(kScanBytes, scales.tensor->bytes));
    for (int64_t at = 0; at < scales.tensor->bytes && found[i].empty(); at += kScanBytes) {
      const auto count = std::min<size_t>(bytes.size(), scales.tensor->bytes - at);
      const std::span<uint8_t> piece = std::span(bytes).first(count);
      scales.file->read(*scales.tensor, at, piece);
      if (const std::optional<size_t> nan = find_nan_scale(piece)) {
        found[i] = nan_scale_text(layers[i].name, piece[*nan], at + static_cast<int64_t>(*nan),
                                  layers[i].k / kBlockSize);
      }
    }
  });
  std::erase(found, "");
  return found;
}

}  // namespace nvfp4
