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

  void add(ModelGemm gemm) {
    if (gemm.count == 0) return;
    if (const std::optional<std::string> why = shape_error(gemm.n, gemm.k)) {
      throw ModelConfigError(fmt::format("{}: {}", gemm.kind, *why));
    }
    gemms_.push_back(std::move(gemm));
  }

  void add_attention(const AttentionLayers& layers, int64_t hidden) {
    if (layers.count == 0) return;
    const int64_t q = divided(layers.heads, ranks_, "num_attention_heads") * layers.head_dim;
    const char* field = layers.values ? "num_key_value_heads" : "num_global_key_value_heads";
    const int64_t kv = divided_or_repeated(layers.kv_heads, ranks_, field) * layers.head_dim;
    std::vector<std::pair<const char*, int64_t>> parts = {{"q_proj", q}, {"k_proj", kv}};
    if (layers.values) parts.push_back({"v_proj", kv});
    // The library stacks q and k only together with a v.
    add_parts(layers.prefix, "qkv_proj", parts, {.k = hidden, .count = layers.count},
              layers.values ? fused_ : Fused::no);
    add({.kind = layers.prefix + "o_proj", .n = hidden, .k = q, .count = layers.count});
  }

  void add_feed_forward(const FeedForward& layers, int64_t hidden) {
    if (layers.width == 0 || layers.count == 0) return;
    const int64_t width = divided(layers.width, ranks_, layers.width_field);
    const ModelGemm common{.kind = "",
                           .k = hidden,
                           .count = layers.count * std::max<int64_t>(layers.experts, 1),
                           .experts = layers.experts,
                           .experts_per_token = layers.experts_per_token};
    std::vector<std::pair<const char*, int64_t>> parts = {{"up_proj", width}};
    if (layers.gated) parts.insert(parts.begin(), {"gate_proj", width});
    add_parts(layers.prefix, "gate_up_proj", parts, common, layers.gated ? fused_ : Fused::no);
    ModelGemm down = common;
    down.kind = layers.prefix + "down_proj";
    down.n = hidden;
    down.k = width;
    add(std::move(down));
  }

  void add_mamba(const MambaLayers& layers, int64_t hidden) {
    if (layers.count == 0) return;
    const int64_t heads = divided(layers.heads, ranks_, "mamba_num_heads");
    const int64_t groups = divided_or_repeated(layers.groups, ranks_, "n_groups");
    const int64_t inner = heads * layers.head_dim;
    // One matrix makes the gate, the input, B and C of each group, and a step width a head.
    add({.kind = "mamba.in_proj",
         .n = 2 * inner + 2 * groups * layers.state + heads,
         .k = hidden,
         .count = layers.count});
    add({.kind = "mamba.out_proj", .n = hidden, .k = inner, .count = layers.count});
  }

  std::vector<ModelGemm> take() { return std::move(gemms_); }

 private:
  // Parts of one activation: as one GEMM, or one by one. `gemm` has what they have in common.
  void add_parts(const std::string& prefix, const char* fused_name,
                 const std::vector<std::pair<const char*, int64_t>>& parts, ModelGemm gemm,
                 Fused fused) {
    std::vector<int64_t> rows;
    for (const auto& [name, n] : parts) {
      rows.push_back(n);
      gemm.kind = prefix + name;
      gemm.n = n;
      if (fused == Fused::no) add(gemm);
    }
    if (fused == Fused::no) return;
    gemm.kind = prefix + fused_name;
    try {
      gemm.n = stack_rows(rows, gemm.k);
    } catch (const std::invalid_argument& error) {
      throw ModelConfigError(fmt::format("{}: {}", gemm.kind, error.what()));
    }
    add(gemm);
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
  list.add({.kind = "lm_head",
            .n = (config.vocab_size + ranks - 1) / ranks,
            .k = config.hidden_size,
            .count = 1});
  return list.take();
}

}  // namespace nvfp4
