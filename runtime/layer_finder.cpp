// SPDX-License-Identifier: Apache-2.0
// A layer is found by its codes; its scales follow from its name. The config is not needed for
// that, only compared.
#include "runtime/layer_finder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "generator/problem.h"
#include "runtime/quoted_name.h"

namespace nvfp4 {
namespace {

constexpr size_t kMaxProblems = 100;  // more say nothing new, and a file could make 10^5 of them

// Last parts of names that engines fuse, in the order of their rows.
struct Fusion {
  std::string_view fused;
  std::array<std::string_view, 3> parts;
};
constexpr Fusion kFusions[] = {{"qkv_proj", {"q_proj", "k_proj", "v_proj"}},
                               {"gate_up_proj", {"gate_proj", "up_proj", ""}},
                               {"w13", {"w1", "w3", ""}}};  // Mixtral's gate and up

std::string_view last_part(std::string_view name) { return name.substr(name.rfind('.') + 1); }

// Rank of a layer among its siblings: fused parts stand together, in their order.
std::pair<std::string, int> sibling_key(const std::string& name) {
  const std::string_view last = last_part(name);
  const std::string parent = name.substr(0, name.size() - last.size());
  for (const Fusion& fusion : kFusions) {
    for (int i = 0; i < 3; ++i) {
      if (!last.empty() && fusion.parts[i] == last) return {parent + std::string(fusion.fused), i};
    }
  }
  return {name, 0};
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

bool natural_less(std::string_view a, std::string_view b) {
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (!is_digit(a[i]) || !is_digit(b[j])) {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i, ++j;
      continue;
    }
    const auto number = [](std::string_view text, size_t& at) {
      while (at + 1 < text.size() && text[at] == '0' && is_digit(text[at + 1])) ++at;
      const size_t begin = at;
      while (at < text.size() && is_digit(text[at])) ++at;
      return text.substr(begin, at - begin);
    };
    const std::string_view x = number(a, i), y = number(b, j);
    if (x.size() != y.size()) return x.size() < y.size();
    if (x != y) return x < y;
  }
  if (a.size() - i != b.size() - j) return a.size() - i < b.size() - j;
  return a < b;  // equal but for leading zeros
}

LayerFinder::LayerFinder(Checkpoint& checkpoint) : checkpoint_(checkpoint) {
  for (const auto& file : checkpoint_.files_) {
    for (const TensorEntry& tensor : file->tensors()) {
      const auto [at, added] = places_.emplace(tensor.name, TensorPlace{file.get(), &tensor});
      if (!added) {
        throw CheckpointError(fmt::format("tensor {} is in {} and in {}", quoted_name(tensor.name),
                                          at->second.file->path(), file->path()));
      }
    }
  }
  for (const auto& [tensor_name, place] : places_) {
    constexpr std::string_view kPacked = ".weight_packed", kWeight = ".weight";
    if (tensor_name.ends_with(kPacked)) {
      add_layer(std::string(tensor_name.substr(0, tensor_name.size() - kPacked.size())),
                Convention::compressed_tensors, place);
    } else if (tensor_name.ends_with(kWeight) && place.tensor->dtype == Dtype::u8) {
      add_layer(std::string(tensor_name.substr(0, tensor_name.size() - kWeight.size())),
                Convention::modelopt, place);
    }
  }
  stack_layers();
  collect_others();
  std::sort(checkpoint_.problems_.begin(), checkpoint_.problems_.end(), natural_less);
  const size_t found = checkpoint_.problems_.size();
  if (found > kMaxProblems) {
    checkpoint_.problems_.resize(kMaxProblems);
    problem(fmt::format("... and {} more", found - kMaxProblems));
  }
}

const TensorPlace* LayerFinder::find(const std::string& name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? nullptr : &found->second;
}

void LayerFinder::problem(std::string text) { checkpoint_.problems_.push_back(std::move(text)); }

std::optional<float> LayerFinder::read_global_scale(const std::string& name,
                                                    Convention convention) {
  const bool divides = convention == Convention::compressed_tensors;
  const std::string full = name + (divides ? ".weight_global_scale" : ".weight_scale_2");
  const TensorPlace* const place = find(full);
  const auto refuse = [&](std::string_view what) {
    problem(fmt::format("{} {}", printable(full), what));
    return std::nullopt;
  };
  if (place == nullptr) return refuse("is missing");
  used_.insert(place->tensor);
  const TensorEntry& tensor = *place->tensor;
  const bool single = tensor.shape.empty() || (tensor.shape.size() == 1 && tensor.shape[0] == 1);
  if (tensor.dtype != Dtype::f32 || !single) {
    return refuse(fmt::format("is {}, not F32 [] or [1]", type_text(tensor)));
  }
  uint8_t bytes[sizeof(float)];
  place->file->read(tensor, 0, bytes);
  float value;
  std::memcpy(&value, bytes, sizeof value);
  if (!std::isfinite(value) || value <= 0) return refuse(fmt::format("is {}", value));
  const float scale = divides ? 1.0f / value : value;
  if (!std::isfinite(scale))
    return refuse(fmt::format("is {}, and its reciprocal {}", value, scale));
  return scale;
}

void LayerFinder::add_layer(std::string name, Convention convention, const TensorPlace& codes) {
  Nvfp4Layer layer{.name = std::move(name), .convention = convention, .codes = codes};
  const std::string shown = printable(layer.name);
  used_.insert(codes.tensor);
  const std::optional<float> global_scale = read_global_scale(layer.name, convention);
  const TensorPlace* const scales = find(layer.name + ".weight_scale");
  if (scales == nullptr) return problem(fmt::format("{}.weight_scale is missing", shown));
  used_.insert(scales->tensor);
  layer.scales = *scales;

  const TensorEntry& code_tensor = *codes.tensor;
  if (code_tensor.dtype != Dtype::u8 || code_tensor.shape.size() != 2) {
    return problem(fmt::format("{} is {}, not U8 [N, K/2]", printable(code_tensor.name),
                               type_text(code_tensor)));
  }
  layer.n = code_tensor.shape[0];
  if (code_tensor.shape[1] > kMaxDimension) {
    return problem(fmt::format("{} is {}: K exceeds {}", printable(code_tensor.name),
                               type_text(code_tensor), kMaxDimension));
  }
  layer.k = code_tensor.shape[1] * 2;
  if (const std::optional<std::string> why = shape_error(layer.n, layer.k)) {
    return problem(fmt::format("{}: {}", printable(code_tensor.name), *why));
  }
  const std::vector<int64_t> wanted = {layer.n, layer.k / kBlockSize};
  if (scales->tensor->dtype != Dtype::f8_e4m3 || scales->tensor->shape != wanted) {
    return problem(fmt::format("{}.weight_scale is {}, not F8_E4M3 [{}, {}]", shown,
                               type_text(*scales->tensor), wanted[0], wanted[1]));
  }
  const std::optional<QuantizationConfig>& config = checkpoint_.quantization_;
  if (config && config->problems.empty() && config->convention != convention) {
    return problem(fmt::format("{} is {}'s, but the config says {}", printable(code_tensor.name),
                               nvfp4::name(convention), nvfp4::name(config->convention)));
  }
  if (!global_scale) return;
  layer.global_scale = *global_scale;
  checkpoint_.layers_.push_back(std::move(layer));
}

void LayerFinder::stack_layers() {
  std::vector<Nvfp4Layer>& layers = checkpoint_.layers_;
  std::vector<std::pair<std::pair<std::string, int>, Nvfp4Layer>> keyed;
  keyed.reserve(layers.size());
  for (Nvfp4Layer& layer : layers) keyed.emplace_back(sibling_key(layer.name), std::move(layer));
  std::sort(keyed.begin(), keyed.end(), [](const auto& a, const auto& b) {
    if (a.first.first != b.first.first) return natural_less(a.first.first, b.first.first);
    return std::tie(a.first.second, a.second.name) < std::tie(b.first.second, b.second.name);
  });
  layers.clear();
  for (size_t begin = 0, end = 0; begin < keyed.size(); begin = end) {
    const std::string& fused = keyed[begin].first.first;
    bool together = true;
    int64_t rows = 0;
    for (end = begin; end < keyed.size() && keyed[end].first.first == fused; ++end) {
      rows = padded_rows(rows) + keyed[end].second.n;
      together = together && keyed[end].second.k == keyed[begin].second.k &&
                 keyed[end].first.second == static_cast<int>(end - begin);
    }
    // Of q, k and v all three must be there; of gate and up both.
    const size_t wanted = last_part(fused) == "qkv_proj" ? 3 : 2;
    together = together && end - begin == wanted && rows <= kMaxDimension;
    for (size_t i = begin; i < end; ++i) {
      const int index = static_cast<int>(layers.size());
      Nvfp4Layer& layer = keyed[i].second;
      if (together && i > begin) {
        checkpoint_.stacks_.back().parts.push_back(index);
      } else {
        checkpoint_.stacks_.push_back(
            {.name = together ? fused : layer.name, .parts = {index}, .k = layer.k});
      }
      layers.push_back(std::move(layer));
    }
  }
}

void LayerFinder::collect_others() {
  const auto layer_scale = [](std::string_view name) {
    return name.ends_with(".weight_scale_2") || name.ends_with(".weight_global_scale");
  };
  for (const auto& [name, place] : places_) {
    if (used_.contains(place.tensor)) continue;
    if (name.ends_with(".input_scale") || name.ends_with(".input_global_scale")) continue;
    if (layer_scale(name)) {
      problem(fmt::format("{} belongs to no NVFP4 weights", printable(name)));
    } else {
      checkpoint_.others_.push_back(place);
    }
  }
  std::sort(checkpoint_.others_.begin(), checkpoint_.others_.end(),
            [](const TensorPlace& a, const TensorPlace& b) {
              return natural_less(a.tensor->name, b.tensor->name);
            });
}

}  // namespace nvfp4
