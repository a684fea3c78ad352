// SPDX-License-Identifier: Apache-2.0
// A model's config.json as the GEMMs that one step of it runs: N, K and how often, for decoders of
// the Llama kind (attention of q, k, v and o; gate, up and down; experts of the same), for Gemma's
// two kinds of attention, and for Nemotron's mixture with state-space layers.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace nvfp4 {

/// A config that cannot be read as such a model; the message names the file, the field and the
/// value.
class ModelConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Attention layers of one kind. Gemma 4 has two: wide heads where it looks at everything.
struct AttentionLayers {
  std::string prefix;  ///< "full_attention.", or empty where all layers are alike
  int64_t count = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  bool values = true;  ///< false: K serves as V, and there is no v_proj
};

/// Feed-forward layers of one kind.
struct FeedForward {
  std::string prefix;       ///< "experts.", or empty
  std::string width_field;  ///< that `width` comes from, for messages
  int64_t count = 0;
  int64_t width = 0;
  int64_t experts = 0;            ///< matrices that one launch chooses from; 0: a dense layer
  int64_t experts_per_token = 0;  ///< of those
  bool gated = true;    ///< false: up and down only
};

/// State-space layers between the others, as Nemotron-H has them.
struct MambaLayers {
  int64_t count = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t groups = 0;
  int64_t state = 0;
};

/// The numbers of a decoder, checked.
struct ModelConfig {
  int64_t hidden_size = 0;
  int64_t vocab_size = 0;
  std::vector<AttentionLayers> attention;
  std::vector<FeedForward> feed_forward;
  MambaLayers mamba;
};

/// Reads config.json, also where the language model is nested under "text_config". Throws
/// ModelConfigError or JsonError.
ModelConfig parse_model_config(std::string_view text, std::string_view file);

/// GEMMs of one kind.
struct ModelGemm {
  std::string kind;  ///< "qkv_proj", "experts.gate_up_proj"
  int64_t n = 0;     ///< rows; each part of a fused one starts at a multiple of 64
  int64_t k = 0;
  int64_t count = 0;              ///< matrices in the whole model, on each rank
  int64_t experts = 0;            ///< matrices of one launch; 0: each has a launch of its own
  int64_t experts_per_token = 0;  ///< how many rows of a launch one token of a step makes
};

enum class Fused { yes, no };

/// The GEMMs that each of `ranks` ranks of tensor parallelism runs: N of q, k, v, gate, up and
/// lm_head is split, K of o and down; heads of k and v are repeated where there are fewer than
/// ranks. Fused: q, k and v, and gate and up, as the library stacks them. Throws ModelConfigError
/// when something does not divide.
std::vector<ModelGemm> model_gemms(const ModelConfig& config, int64_t ranks, Fused fused);

}  // namespace nvfp4
