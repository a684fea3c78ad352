// SPDX-License-Identifier: Apache-2.0
// An NVFP4 checkpoint as a folder holds it: which linear layers are NVFP4, under which names, and
// which of them the inference engines run as one GEMM. Opening reads headers and global scales, no
// weights.
//
//   modelopt              X.weight U8 [N, K/2]          X.weight_scale F8_E4M3 [N, K/16]
//                         X.weight_scale_2 F32 [] or [1]: w = E2M1 * E4M3 * scale_2
//   compressed-tensors    X.weight_packed, X.weight_scale,
//                         X.weight_global_scale F32 [] or [1]: w = E2M1 * E4M3 / global_scale
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/quantization_config.h"
#include "runtime/safetensors.h"

namespace nvfp4 {

/// A folder that holds no checkpoint, or one whose weights cannot be used; the message names the
/// file or the tensor.
class CheckpointError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A tensor and the file that holds it.
struct TensorPlace {
  const SafetensorsFile* file = nullptr;
  const TensorEntry* tensor = nullptr;
};

/// One linear layer whose weights are NVFP4.
struct Nvfp4Layer {
  std::string name;  ///< "model.layers.3.mlp.down_proj"
  Convention convention = Convention::modelopt;
  int64_t n = 0;
  int64_t k = 0;
  TensorPlace codes;       ///< [n, k/2]
  TensorPlace scales;      ///< [n, k/16]
  float global_scale = 0;  ///< multiplies, whatever the convention
  int64_t bytes() const { return codes.tensor->bytes + scales.tensor->bytes; }
};

/// Layers that read the same activations and run as one GEMM, their rows one below the other: q, k
/// and v, or gate and up. A layer that stands alone is a stack of one.
struct LayerStack {
  std::string name;        ///< "model.layers.3.self_attn.qkv_proj"
  std::vector<int> parts;  ///< indices into layers(), adjacent
  int64_t k = 0;
};

class Checkpoint {
 public:
  /// A folder with model.safetensors.index.json, model.safetensors or one other .safetensors file,
  /// or such a file itself. Throws CheckpointError, SafetensorsError or JsonError.
  explicit Checkpoint(const std::filesystem::path& path);

  /// In the order of their numbers: layer 2 before layer 10, q before k before v.
  std::span<const Nvfp4Layer> layers() const { return layers_; }
  std::span<const LayerStack> stacks() const { return stacks_; }
  /// Every tensor that is no part of an NVFP4 layer; scales of activations are left out.
  std::span<const TensorPlace> others() const { return others_; }
  std::span<const std::unique_ptr<SafetensorsFile>> files() const { return files_; }

  /// Why parts of the checkpoint cannot be used, a line each, with the tensor's name; the layers
  /// concerned are not in layers(). Block scales are not looked at: see find_nan_scales().
  std::span<const std::string> problems() const { return problems_; }

  const std::optional<QuantizationConfig>& quantization() const { return quantization_; }
  /// The text of config.json, or empty.
  const std::string& config_text() const { return config_text_; }

  /// N of a stack's GEMM: each part starts on a row tile, so there may be gaps between them.
  int64_t stacked_rows(const LayerStack& stack) const;
  int64_t packed_bytes(const LayerStack& stack) const;
  /// The kernels' table: the global scale of each 64 packed rows.
  std::vector<float> tile_scales(const LayerStack& stack) const;

 private:
  friend class LayerFinder;

  void open_files(const std::filesystem::path& path);
  void open_shards(const std::filesystem::path& index);
  void read_configs(const std::filesystem::path& folder);

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::vector<Nvfp4Layer> layers_;
  std::vector<LayerStack> stacks_;
  std::vector<TensorPlace> others_;
  std::vector<std::string> problems_;
  std::optional<QuantizationConfig> quantization_;
  std::string config_text_;
};

/// A line for each layer whose block scales hold a NaN, with its first place. Reads a ninth of the
/// weights' bytes.
std::vector<std::string> find_nan_scales(const Checkpoint& checkpoint, int threads);

}  // namespace nvfp4
