// SPDX-License-Identifier: Apache-2.0
// Small checkpoints on disk, in both conventions, whole or with one thing wrong.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "runtime/numerics.h"
#include "runtime/quantization_config.h"
#include "runtime/safetensors.h"

namespace nvfp4 {

using Bytes = std::vector<uint8_t>;

inline Bytes float_bytes(float value) {
  Bytes bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

inline Bytes random_codes(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  Bytes bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

/// E4M3 codes, none of them NaN.
inline Bytes random_scales(int64_t count, unsigned seed) {
  Bytes bytes = random_codes(count, seed);
  for (uint8_t& byte : bytes) byte = e4m3_is_nan(byte) ? 0x38 : byte;
  return bytes;
}

/// The tensors of one file.
class TensorFile {
 public:
  TensorFile& add(const std::string& name, Dtype dtype, std::vector<int64_t> shape, Bytes bytes) {
    remove(name);
    tensors_.push_back({.name = name, .dtype = dtype, .shape = std::move(shape)});
    bytes_.push_back(std::move(bytes));
    return *this;
  }
  TensorFile& remove(const std::string& name) {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].name != name) continue;
      tensors_.erase(tensors_.begin() + static_cast<int64_t>(i));
      bytes_.erase(bytes_.begin() + static_cast<int64_t>(i));
      break;
    }
    return *this;
  }
  TensorFile& modelopt(const std::string& layer, int64_t n, int64_t k, float scale) {
    const auto seed = static_cast<unsigned>(layer.size() + n + k);
    add(layer + ".weight", Dtype::u8, {n, k / 2}, random_codes(n * k / 2, seed));
    add(layer + ".weight_scale", Dtype::f8_e4m3, {n, k / 16}, random_scales(n * k / 16, seed));
    add(layer + ".input_scale", Dtype::f32, {}, float_bytes(1));
    return add(layer + ".weight_scale_2", Dtype::f32, {}, float_bytes(scale));
  }
  /// The same weights as modelopt() with 1 / scale.
  TensorFile& compressed(const std::string& layer, int64_t n, int64_t k, float scale) {
    const auto seed = static_cast<unsigned>(layer.size() + n + k);
    add(layer + ".weight_packed", Dtype::u8, {n, k / 2}, random_codes(n * k / 2, seed));
    add(layer + ".weight_scale", Dtype::f8_e4m3, {n, k / 16}, random_scales(n * k / 16, seed));
    add(layer + ".input_global_scale", Dtype::f32, {1}, float_bytes(1));
    return add(layer + ".weight_global_scale", Dtype::f32, {1}, float_bytes(scale));
  }
  TensorFile& bf16(const std::string& name, std::vector<int64_t> shape) {
    int64_t bytes = 2;
    for (int64_t size : shape) bytes *= size;
    return add(name, Dtype::bf16, std::move(shape), Bytes(bytes));
  }

  const Bytes& bytes(const std::string& name) const {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].name == name) return bytes_[i];
    }
    throw std::runtime_error("no tensor " + name);
  }

  void write(const std::filesystem::path& path) const {
    SafetensorsWriter writer(path, tensors_, {});
    for (size_t i = 0; i < bytes_.size(); ++i) writer.write(writer.tensors()[i], 0, bytes_[i]);
    writer.publish({});
  }

 private:
  std::vector<TensorEntry> tensors_;
  std::vector<Bytes> bytes_;
};

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// Two layers of a small transformer and what stands around them.
inline TensorFile small_model(Convention convention) {
  TensorFile file;
  const auto layer = [&](const std::string& name, int64_t n, int64_t k, float scale) {
    if (convention == Convention::modelopt) {
      file.modelopt(name, n, k, scale);
    } else {
      file.compressed(name, n, k, 1 / scale);
    }
  };
  for (const std::string index : {"10", "2"}) {
    const std::string block = "model.layers." + index;
    layer(block + ".self_attn.q_proj", 128, 64, 0.5f);
    layer(block + ".self_attn.k_proj", 64, 64, 0.25f);
    layer(block + ".self_attn.v_proj", 64, 64, 2.0f);
    layer(block + ".self_attn.o_proj", 64, 128, 0.125f);
    layer(block + ".mlp.up_proj", 176, 64, 1.0f);
    layer(block + ".mlp.gate_proj", 176, 64, 4.0f);
    layer(block + ".mlp.down_proj", 64, 176, 0.5f);
    file.bf16(block + ".input_layernorm.weight", {64});
  }
  file.bf16("model.embed_tokens.weight", {32, 64});
  file.bf16("lm_head.weight", {32, 64});
  return file;
}

}  // namespace nvfp4
