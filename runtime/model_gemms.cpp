// SPDX-License-Identifier: Apache-2.0
// The layers of a model as GEMMs: who holds which share of each under tensor parallelism.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "generator/problem.h"
#include "runtime/model_config.h"

namespace nvfp4 {
namespace {

int64_t divided(int64_t value, int64_t ranks, std::string_view what) {
  if (value % ranks != 0) {
    throw ModelConfigError(fmt::format("{} {} does not divide among {} ranks", what, value, ranks));
  }
  return value / ranks;
}

// Where there are fewer than ranks, each rank holds one.
int64_t divided_or_repeated(int64_t value, int64_t ranks, std::string_view what) {
  return value < ranks && ranks % value == 0 ? 1 : divided(value, ranks, what);
}

/// Collects GEMMs, and refuses those that no kernel runs.
class GemmList {
 public:
  GemmList(int64_t ranks, Fused fused) : ranks_(ranks), fused_(fused) {}

  void add(std::string kind, int64_t n, int64_t k, int64_t count, int64_t experts = 0) {
    if (count == 0) return;
    if (const std::optional<std::string> why = shape_error(n, k)) {
      throw ModelConfigError(fmt::format("{}: {}", kind, *why));
    }
    gemms_.push_back({.kind = std::move(kind), .n = n, .k = k, .count = count, .experts = experts});
  }

  void add_attention(const AttentionLayers& layers, int64_t hidden) {
    if (layers.count == 0) return;
    const int64_t q = divided(layers.heads, ranks_, "num_attention_heads") * layers.head_dim;
    const char* field = layers.values ? "num_key_value_heads" : "num_global_key_value_heads";
    const int64_t kv = divided_or_repeated(layers.kv_heads, ranks_, field) * layers.head_dim;
    std::vector<std::pair<const char*, int64_t>> parts = {{"q_proj", q}, {"k_proj", kv}};
    if (layers.values) parts.push_back({"v_proj", kv});
    // The library stacks q and k only together with a v.
    const Fused fused = layers.values ? fused_ : Fused::no;
    add_parts(layers.prefix, "qkv_proj", parts, hidden, layers.count, 0, fused);
    add(layers.prefix + "o_proj", hidden, q, layers.count);
  }

  void add_feed_forward(const FeedForward& layers, int64_t hidden) {
    if (layers.width == 0 || layers.count == 0) return;
    const int64_t width = divided(layers.width, ranks_, layers.width_field);
    const int64_t count = layers.count * std::max<int64_t>(layers.experts, 1);
    std::vector<std::pair<const char*, int64_t>> parts = {{"up_proj", width}};
    if (layers.gated) parts.insert(parts.begin(), {"gate_proj", width});
    add_parts(layers.prefix, "gate_up_proj", parts, hidden, count, layers.experts,
              layers.gated ? fused_ : Fused::no);
    add(layers.prefix + "down_proj", hidden, width, count, layers.experts);
  }

  void add_mamba(const MambaLayers& layers, int64_t hidden) {
    if (layers.count == 0) return;
    const int64_t heads = divided(layers.heads, ranks_, "mamba_num_heads");
    const int64_t groups = divided_or_repeated(layers.groups, ranks_, "n_groups");
    const int64_t inner = heads * layers.head_dim;
    // One matrix makes the gate, the input, B and C of each group, and a step width a head.
    add("mamba.in_proj", 2 * inner + 2 * groups * layers.state + heads, hidden, layers.count);
    add("mamba.out_proj", hidden, inner, layers.count);
  }

  std::vector<ModelGemm> take() { return std::move(gemms_); }

 private:
  void add_parts(const std::string& prefix, const char* fused_name,
                 const std::vector<std::pair<const char*, int64_t>>& parts, int64_t k,
                 int64_t count, int64_t experts, Fused fused) {
    if (fused == Fused::no) {
      for (const auto& [name, rows] : parts) add(prefix + name, rows, k, count, experts);
      return;
    }
    std::vector<int64_t> rows;
    for (const auto& part : parts) rows.push_back(part.second);
    try {
      add(prefix + fused_name, stack_rows(rows, k), k, count, experts);
    } catch (const std::invalid_argument& error) {
      throw ModelConfigError(fmt::format("{}{}: {}", prefix, fused_name, error.what()));
    }
  }

  int64_t ranks_;
  Fused fused_;
  std::vector<ModelGemm> gemms_;
};

}  // namespace

std::vector<ModelGemm> model_gemms(const ModelConfig& config, int64_t ranks, Fused fused) {
  GemmList list(ranks, fused);
  for (const AttentionLayers& layers : config.attention) {
    list.add_attention(layers, config.hidden_size);
  }
  list.add_mamba(config.mamba, config.hidden_size);
  for (const FeedForward& layers : config.feed_forward) {
    list.add_feed_forward(layers, config.hidden_size);
  }
  // Engines pad the vocabulary so that it divides.
  list.add("lm_head", (config.vocab_size + ranks - 1) / ranks, config.hidden_size, 1);
  return list.take();
}

}  // namespace nvfp4
