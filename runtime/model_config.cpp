// SPDX-License-Identifier: Apache-2.0
// Fields are looked up under the names that model families gave them. What is read is bounded, so
// that no product of it overflows.
#include "runtime/model_config.h"

#include <fmt/format.h>

#include <algorithm>
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

  /// The value as it is, or null when it is absent or null.
  const Json* value(const char* name) const {
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  bool is(const char* name, const Json& expected) const {
    const Json* found = value(name);
    return found != nullptr && *found == expected;
  }

  std::string_view file() const { return file_; }

 private:
  const Json& object_;
  std::string_view file_;
};

/// How many layers there are of each kind.
struct LayerCounts {
  int64_t attention = 0;
  int64_t full_attention = 0;  ///< of those, where they differ from the others
  int64_t dense = 0;
  int64_t sparse = 0;
  int64_t mamba = 0;
};

// Nemotron-H writes its layers as "MEMEM*EM-": each is one mixer.
LayerCounts count_pattern(const Fields& fields, const Json& pattern, int64_t layers) {
  const std::string text = pattern.is_string() ? pattern.get<std::string>() : "";
  const auto letters = [&](char letter) {
    return static_cast<int64_t>(std::count(text.begin(), text.end(), letter));
  };
  const LayerCounts counts{.attention = letters('*'),
                           .dense = letters('-'),
                           .sparse = letters('E'),
                           .mamba = letters('M')};
  if (counts.attention + counts.dense + counts.sparse + counts.mamba != layers ||
      static_cast<int64_t>(text.size()) != layers) {
    throw ModelConfigError(
        fmt::format("{}: hybrid_override_pattern is {}, not {} letters of M, E, * and -",
                    fields.file(), printable(pattern.dump()), layers));
  }
  return counts;
}

// Layers that attend to everything; the rest attends to a window, with the same GEMMs unless the
// config says otherwise.
int64_t count_full_attention(const Fields& fields, const Json& types, int64_t layers) {
  if (!types.is_array() || static_cast<int64_t>(types.size()) != layers) {
    throw ModelConfigError(fmt::format("{}: layer_types has {} entries for {} layers",
                                       fields.file(), types.is_array() ? types.size() : 0, layers));
  }
  int64_t full = 0;
  for (const Json& type : types) {
    if (type == "full_attention") {
      ++full;
    } else if (type != "sliding_attention" && type != "chunked_attention") {
      throw ModelConfigError(fmt::format("{}: layer_types holds {}, which is not known here",
                                         fields.file(), printable(type.dump())));
    }
  }
  return full;
}

LayerCounts count_layers(const Fields& fields, int64_t experts) {
  const int64_t layers = fields.get({"num_hidden_layers", "n_layer"}, kMaxLayers);
  const Json* pattern = fields.value("hybrid_override_pattern");
  if (pattern != nullptr) return count_pattern(fields, *pattern, layers);
  LayerCounts counts{.attention = layers, .dense = layers};
  if (const Json* types = fields.value("layer_types")) {
    counts.full_attention = count_full_attention(fields, *types, layers);
  }
  if (experts == 0) return counts;
  const int64_t dense = fields.find({"first_k_dense_replace"}, 0, layers).value_or(0);
  counts.sparse = layers - dense;
  // Gemma's mixture has both in each layer.
  counts.dense = fields.is("enable_moe_block", true) ? layers : dense;
  return counts;
}

void read_attention(const Fields& fields, const LayerCounts& counts, ModelConfig& config) {
  AttentionLayers layers{.count = counts.attention,
                         .heads = fields.get({"num_attention_heads", "n_head"}, kMaxDimension)};
  layers.kv_heads = fields.find({"num_key_value_heads"}, 1, layers.heads).value_or(layers.heads);
  const std::optional<int64_t> head_dim = fields.find({"head_dim"}, 1, kMaxDimension);
  if (!head_dim && config.hidden_size % layers.heads != 0) {
    throw ModelConfigError(fmt::format("{}: hidden_size {} does not divide among {} heads",
                                       fields.file(), config.hidden_size, layers.heads));
  }
  layers.head_dim = head_dim.value_or(config.hidden_size / layers.heads);
  const auto wide = fields.find({"global_head_dim"}, 1, kMaxDimension);
  if (!wide) {
    config.attention = {layers};
    return;
  }
  if (fields.value("layer_types") == nullptr) {
    throw ModelConfigError(
        fmt::format("{}: layer_types is missing beside global_head_dim", fields.file()));
  }
  AttentionLayers full = layers;
  full.prefix = "full_attention.";
  full.count = counts.full_attention;
  full.head_dim = *wide;
  full.values = !fields.is("attention_k_eq_v", true);
  // Only where K is V do the heads have a number of their own.
  const auto own = fields.find({"num_global_key_value_heads"}, 1, layers.heads);
  if (!full.values && own) full.kv_heads = *own;
  layers.count -= full.count;
  config.attention = {layers, full};
}

void read_feed_forward(const Fields& fields, const LayerCounts& counts, int64_t experts,
                       ModelConfig& config) {
  const int64_t width = fields.find({"intermediate_size", "n_inner"}, 1, kMaxDimension).value_or(0);
  const bool gated = !fields.is("hidden_act", "relu2") && !fields.is("mlp_hidden_act", "relu2");
  if (counts.dense > 0 && width == 0) {
    throw ModelConfigError(fmt::format("{}: intermediate_size is missing", fields.file()));
  }
  config.feed_forward.push_back({.prefix = "",
                                 .width_field = "intermediate_size",
                                 .count = counts.dense,
                                 .width = width,
                                 .gated = gated});
  if (counts.sparse == 0) return;
  if (experts == 0) {
    throw ModelConfigError(fmt::format("{}: num_local_experts is missing", fields.file()));
  }
  const int64_t experts_per_token =
      fields.get({"num_experts_per_tok", "top_k_experts"}, experts);
  // Mixtral and gpt-oss have only one intermediate size: their experts'.
  const std::optional<int64_t> own = fields.find({"moe_intermediate_size"}, 1, kMaxDimension);
  const int64_t expert_width = own          ? *own
                               : width != 0 ? width
                                            : fields.get({"moe_intermediate_size"}, kMaxDimension);
  config.feed_forward.push_back({.prefix = "experts.",
                                 .width_field = "moe_intermediate_size",
                                 .count = counts.sparse,
                                 .width = expert_width,
                                 .experts = experts,
                                 .experts_per_token = experts_per_token,
                                 .gated = gated});
  std::optional<int64_t> shared = fields.find(
      {"shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"}, 0, kMaxDimension);
  const int64_t sharers = fields.find({"n_shared_experts"}, 0, 64).value_or(0);
  if (!shared) shared = sharers * expert_width;
  config.feed_forward.push_back({.prefix = "shared_expert.",
                                 .width_field = "shared_expert_intermediate_size",
                                 .count = counts.sparse,
                                 .width = *shared,
                                 .gated = gated});
}

void read_mamba(const Fields& fields, const LayerCounts& counts, ModelConfig& config) {
  if (counts.mamba == 0) return;
  config.mamba = {.count = counts.mamba,
                  .heads = fields.get({"mamba_num_heads"}, kMaxDimension),
                  .head_dim = fields.get({"mamba_head_dim"}, kMaxDimension),
                  .groups = fields.get({"n_groups"}, kMaxDimension),
                  .state = fields.get({"ssm_state_size"}, kMaxDimension)};
}

}  // namespace

ModelConfig parse_model_config(std::string_view text, std::string_view file) {
  const Json document = parse_json(text, file);
  if (!document.is_object()) throw ModelConfigError(fmt::format("{}: not a JSON object", file));
  const auto nested = document.find("text_config");
  const bool use_nested = nested != document.end() && nested->is_object();
  const Fields fields(use_nested ? *nested : document, file);
  // Its K and V go through low-rank GEMMs of other shapes.
  if (fields.value("kv_lora_rank") != nullptr) {
    throw ModelConfigError(
        fmt::format("{}: kv_lora_rank: latent attention is not known here", file));
  }
  ModelConfig config{.hidden_size = fields.get({"hidden_size", "n_embd"}, kMaxDimension),
                     .vocab_size = fields.get({"vocab_size"}, kMaxDimension)};
  const int64_t experts =
      fields.find({"num_local_experts", "num_experts", "n_routed_experts"}, 0, kMaxExperts)
          .value_or(0);
  const LayerCounts counts = count_layers(fields, experts);
  read_attention(fields, counts, config);
  read_feed_forward(fields, counts, experts, config);
  read_mamba(fields, counts, config);
  return config;
}

}  // namespace nvfp4
