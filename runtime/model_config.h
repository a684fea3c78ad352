// SPDX-License-Identifier: Apache-2.0
// A model's config.json as the GEMMs that one step of it runs: N, K and how often, for decoders of
// the Llama kind (attention of q, k, v and o; gate, up and down; experts of the same).
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

/// The numbers of a decoder, checked.
struct ModelConfig {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;  ///< of dense layers; 0 when every layer has experts
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  int64_t experts = 0;  ///< of each layer that has them
  int64_t expert_intermediate_size = 0;
  int64_t shared_intermediate_size = 0;  ///< of experts that every token uses; 0: none
  int64_t dense_layers = 0;              ///< layers without experts
  int64_t experts_per_token = 0;
};

/// Reads config.json, also where the language model is nested under "text_config". Throws
/// ModelConfigError or JsonError.
ModelConfig parse_model_config(std::string_view text, std::string_view file);

/// GEMMs of one kind.
struct ModelGemm {
  std::string kind;  ///< "qkv_proj", "experts.gate_up_proj"
  int64_t n = 0;
  int64_t k = 0;
  int64_t count = 0;  ///< in the whole model, on each rank
};

enum class Fused { yes, no };

/// The GEMMs that each of `ranks` ranks of tensor parallelism runs: N of q, k, v, gate, up and
/// lm_head is split, K of o and down; heads of k and v are repeated where there are fewer than
/// ranks. Throws ModelConfigError when something does not divide.
std::vector<ModelGemm> model_gemms(const ModelConfig& config, int64_t ranks, Fused fused);

}  // namespace nvfp4
