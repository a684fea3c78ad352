// SPDX-License-Identifier: Apache-2.0
// What a checkpoint says about its own quantisation: `quantization_config` in config.json (modelopt
// and compressed-tensors), or modelopt's hf_quant_config.json.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "runtime/name_pattern.h"

namespace nvfp4 {

/// How tensors are called and which way the global scale points.
enum class Convention : int {
  modelopt,            ///< X.weight, X.weight_scale, X.weight_scale_2: multiplies
  compressed_tensors,  ///< X.weight_packed, X.weight_scale, X.weight_global_scale: divides
};
std::string_view name(Convention convention);

constexpr size_t kMaxPatterns = 256;  ///< that are no plain name; checkpoints have a dozen
constexpr size_t kMaxPatternBytes = 512;

struct QuantizationConfig {
  Convention convention = Convention::modelopt;
  std::vector<std::string> problems;  ///< why this is no NVFP4 checkpoint, or not to be trusted

  /// True when the config says that the layer called `name` is not quantised.
  bool ignores(std::string_view name) const;

  std::unordered_set<std::string> ignored_names;
  std::vector<NamePattern> ignored_patterns;
};

/// From the text of config.json or hf_quant_config.json; empty when it has no such section. Throws
/// JsonError, with `file` in its message.
std::optional<QuantizationConfig> parse_quantization_config(std::string_view text,
                                                            std::string_view file);

}  // namespace nvfp4
