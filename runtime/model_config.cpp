// SPDX-License-Identifier: Apache-2.0
// Fields are looked up under the names that model families gave them. What is read is bounded, so
// that no product below overflows.
#include "runtime/model_config.h"

#include <fmt/format.h>

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>

#include "generator/problem.h"
#include "runtime/json_text.h"
#include "runtime/quoted_name.h"

namespace nvfp4 {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxLayers = 10'000;
constexpr int64_t kMaxExperts = 10'000;

/// The fields of one object, by any of their names.
class Fields {
 public:
  Fields(const Json& object, std::string_view file) : object_(object), file_(file) {}

  /// Empty when it is absent or null.
  std::optional<int64_t> find(std::initializer_list<const char*> names, int64_t least,
                              int64_t most) const {
    for (const char* name : names) {
      const auto found = object_.find(name);
      if (found == object_.end() || found->is_null()) continue;
      const bool integer = found->is_number_integer();
      const bool fits = integer && *found >= least && *found <= most;
      if (!fits) {
        throw ModelConfigError(fmt::format("{}: {} is {}, not a number of {} to {}", file_, name,
                                           printable(found->dump()), least, most));
      }
      return found->get<int64_t>();
    }
    return std::nullopt;
  }

  int64_t get(std::initializer_list<const char*> names, int64_t most) const {
    const std::optional<int64_t> value = find(names, 1, most);
    if (!value) throw ModelConfigError(fmt::format("{}: {} is missing", file_, *names.begin()));
    return *value;
  }

  bool has(const char* name) const {
    const auto found = object_.find(name);
    return found != object_.end() && !found->is_null();
  }

 private:
  const Json& object_;
  std::string_view file_;
};

void read_experts(const Fields& fields, ModelConfig& config) {
  config.experts =
      fields.find({"num_local_experts", "num_experts", "n_routed_experts"}, 0, kMaxExperts)
          .value_or(0);
  config.dense_layers = config.layers;
  if (config.experts == 0) return;
  config.dense_layers = fields.find({"first_k_dense_replace"}, 0, config.layers).value_or(0);
  config.experts_per_token = fields.get({"num_experts_per_tok", "top_k_experts"}, config.experts);
  // Mixtral has only one intermediate size: its experts'.
  const std::optional<int64_t> own = fields.find({"moe_intermediate_size"}, 1, kMaxDimension);
  config.expert_intermediate_size = own.value_or(config.intermediate_size);
  if (config.expert_intermediate_size == 0) {
    config.expert_intermediate_size = fields.get({"moe_intermediate_size"}, kMaxDimension);
  }
  config.shared_intermediate_size =
      fields.find({"shared_expert_intermediate_size"}, 0, kMaxDimension).value_or(0);
  if (const auto shared = fields.find({"n_shared_experts"}, 0, 64)) {
    config.shared_intermediate_size = *shared * config.expert_intermediate_size;
  }
  if (config.dense_layers == 0) config.intermediate_size = 0;
}

int64_t divided(int64_t value, int64_t ranks, std::string_view what) {
  if (value % ranks != 0) {
    throw ModelConfigError(fmt::format("{} {} does not divide among {} ranks", what, value, ranks));
  }
  return value / ranks;
}

/// Collects GEMMs, and refuses those that no kernel runs.
class GemmList {
 public:
  void add(std::string kind, int64_t n, int64_t k, int64_t count) {
    if (count == 0) return;
    if (const std::optional<std::string> why = shape_error(n, k)) {
      throw ModelConfigError(fmt::format("{}: {}", kind, *why));
    }
    gemms_.push_back({.kind = std::move(kind), .n = n, .k = k, .count = count});
  }

  /// gate, up and down of one kind of feed-forward layer.
  void add_mlp(const std::string& prefix, int64_t hidden, int64_t width, int64_t count,
               Fused fused) {
    if (width == 0) return;
    if (fused == Fused::yes) {
      add(prefix + "gate_up_proj", 2 * width, hidden, count);
    } else {
      add(prefix + "gate_proj", width, hidden, count);
      add(prefix + "up_proj", width, hidden, count);
    }
    add(prefix + "down_proj", hidden, width, count);
  }

  std::vector<ModelGemm> take() { return std::move(gemms_); }

 private:
  std::vector<ModelGemm> gemms_;
};

}  // namespace

ModelConfig parse_model_config(std::string_view text, std::string_view file) {
  const Json document = parse_json(text, file);
  if (!document.is_object()) throw ModelConfigError(fmt::format("{}: not a JSON object", file));
  const auto nested = document.find("text_config");
  const bool use_nested = nested != document.end() && nested->is_object();
  const Fields fields(use_nested ? *nested : document, file);
  // Its K and V go through low-rank GEMMs of other shapes.
  if (fields.has("kv_lora_rank")) {
    throw ModelConfigError(
        fmt::format("{}: kv_lora_rank: latent attention is not known here", file));
  }
  ModelConfig config{.hidden_size = fields.get({"hidden_size", "n_embd"}, kMaxDimension),
                     .layers = fields.get({"num_hidden_layers", "n_layer"}, kMaxLayers),
                     .heads = fields.get({"num_attention_heads", "n_head"}, kMaxDimension),
                     .vocab_size = fields.get({"vocab_size"}, kMaxDimension)};
  config.intermediate_size =
      fields.find({"intermediate_size", "n_inner"}, 1, kMaxDimension).value_or(0);
  config.kv_heads = fields.find({"num_key_value_heads"}, 1, config.heads).value_or(config.heads);
  const std::optional<int64_t> head_dim = fields.find({"head_dim"}, 1, kMaxDimension);
  if (!head_dim && config.hidden_size % config.heads != 0) {
    throw ModelConfigError(fmt::format("{}: hidden_size {} does not divide among {} heads", file,
                                       config.hidden_size, config.heads));
  }
  config.head_dim = head_dim.value_or(config.hidden_size / config.heads);
  read_experts(fields, config);
  if (config.dense_layers > 0 && config.intermediate_size == 0) {
    throw ModelConfigError(fmt::format("{}: intermediate_size is missing", file));
  }
  return config;
}

std::vector<ModelGemm> model_gemms(const ModelConfig& c, int64_t ranks, Fused fused) {
  const int64_t q = divided(c.heads, ranks, "num_attention_heads") * c.head_dim;
  const int64_t kv_heads = c.kv_heads < ranks && ranks % c.kv_heads == 0
                               ? 1
                               : divided(c.kv_heads, ranks, "num_key_value_heads");
  const int64_t kv = kv_heads * c.head_dim;
  GemmList list;
  if (fused == Fused::yes) {
    list.add("qkv_proj", q + 2 * kv, c.hidden_size, c.layers);
  } else {
    list.add("q_proj", q, c.hidden_size, c.layers);
    list.add("k_proj", kv, c.hidden_size, c.layers);
    list.add("v_proj", kv, c.hidden_size, c.layers);
  }
  list.add("o_proj", c.hidden_size, q, c.layers);
  const auto share = [&](int64_t width, std::string_view what) {
    return divided(width, ranks, what);
  };
  list.add_mlp("", c.hidden_size, share(c.intermediate_size, "intermediate_size"), c.dense_layers,
               fused);
  const int64_t sparse_layers = c.layers - c.dense_layers;
  list.add_mlp("experts.", c.hidden_size,
               share(c.expert_intermediate_size, "moe_intermediate_size"),
               sparse_layers * c.experts, fused);
  list.add_mlp("shared_expert.", c.hidden_size,
               share(c.shared_intermediate_size, "shared_expert_intermediate_size"), sparse_layers,
               fused);
  // Engines pad the vocabulary so that it divides.
  list.add("lm_head", (c.vocab_size + ranks - 1) / ranks, c.hidden_size, 1);
  return list.take();
}

}  // namespace nvfp4
