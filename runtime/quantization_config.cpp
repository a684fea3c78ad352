// SPDX-License-Identifier: Apache-2.0
// Only what decides how to read weights is looked at: the method, the group size, who is left out.
#include "runtime/quantization_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/json_text.h"
#include "runtime/quoted_name.h"
#include "templates/packed_layout.h"

namespace nvfp4 {
namespace {

using Json = nlohmann::json;

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

void check_group_size(const Json& object, QuantizationConfig& config) {
  const auto found = object.find("group_size");
  if (found == object.end() || found->is_null()) return;
  if (!found->is_number_integer() || *found != kBlockSize) {
    config.problems.push_back(
        fmt::format("group_size is {}, not {}", printable(found->dump()), kBlockSize));
  }
}

void add_ignored(const std::string& text, QuantizationConfig& config) {
  const bool is_regex = text.starts_with("re:");
  if (!is_regex && text.find('*') == text.npos) {
    config.ignored_names.insert(text);
    return;
  }
  if (text.size() > kMaxPatternBytes || config.ignored_patterns.size() == kMaxPatterns) {
    config.problems.push_back(fmt::format("pattern {} of {} bytes, beyond {} patterns of {} bytes",
                                          quoted_name(text), text.size(), kMaxPatterns,
                                          kMaxPatternBytes));
  } else if (!is_regex) {
    config.ignored_patterns.push_back(NamePattern::glob(text));
  } else if (const auto pattern = NamePattern::regex(std::string_view(text).substr(3))) {
    config.ignored_patterns.push_back(*pattern);
  }
}

void read_ignored(const Json& object, const char* key, QuantizationConfig& config) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return;
  if (!found->is_array()) {
    config.problems.push_back(fmt::format("'{}' is no list", key));
    return;
  }
  for (const Json& entry : *found) {
    if (!entry.is_string()) {
      config.problems.push_back(fmt::format("'{}' holds {}", key, printable(entry.dump())));
      continue;
    }
    add_ignored(entry.get<std::string>(), config);
  }
}

// {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": [...]}, or the "quantization" of
// hf_quant_config.json: {"quant_algo": "NVFP4", "group_size": 16, "exclude_modules": [...]}.
QuantizationConfig modelopt(const Json& section) {
  QuantizationConfig config{.convention = Convention::modelopt};
  const std::string algorithm = text_of(section, "quant_algo");
  if (algorithm.find("NVFP4") == algorithm.npos && algorithm != "MIXED_PRECISION") {
    config.problems.push_back(fmt::format("quant_algo is {}, not 'NVFP4'", quoted_name(algorithm)));
  }
  check_group_size(section, config);
  read_ignored(section, "exclude_modules", config);
  read_ignored(section, "ignore", config);
  return config;
}

// True for a group of 4-bit floats.
bool is_nvfp4(const Json& group) {
  const auto weights = group.is_object() ? group.find("weights") : group.end();
  if (!group.is_object() || weights == group.end() || !weights->is_object()) return false;
  return weights->value("num_bits", Json()) == 4 && text_of(*weights, "type") == "float";
}

QuantizationConfig compressed_tensors(const Json& section) {
  QuantizationConfig config{.convention = Convention::compressed_tensors};
  const auto groups = section.find("config_groups");
  bool found = text_of(section, "format").find("nvfp4") != std::string::npos;
  if (groups != section.end() && groups->is_object()) {
    for (const auto& [key, group] : groups->items()) {
      if (!is_nvfp4(group)) continue;
      found = true;
      check_group_size(group["weights"], config);
    }
  }
  if (!found) {
    config.problems.push_back(fmt::format("format is {}, not 'nvfp4-pack-quantized'",
                                          quoted_name(text_of(section, "format"))));
  }
  read_ignored(section, "ignore", config);
  return config;
}

}  // namespace

std::string_view name(Convention convention) {
  return convention == Convention::modelopt ? "modelopt" : "compressed-tensors";
}

bool QuantizationConfig::ignores(std::string_view name) const {
  if (ignored_names.contains(std::string(name))) return true;
  return std::any_of(ignored_patterns.begin(), ignored_patterns.end(),
                     [&](const NamePattern& pattern) { return pattern.matches(name); });
}

std::optional<QuantizationConfig> parse_quantization_config(std::string_view text,
                                                            std::string_view file) {
  const Json document = parse_json(text, file);
  if (!document.is_object()) throw JsonError(fmt::format("{}: not a JSON object", file));
  const bool own_file = document.contains("quantization");
  const auto section = document.find(own_file ? "quantization" : "quantization_config");
  if (section == document.end() || section->is_null()) return std::nullopt;
  if (!section->is_object()) {
    throw JsonError(fmt::format("{}: '{}' is no object", file,
                                own_file ? "quantization" : "quantization_config"));
  }
  const std::string method = own_file ? "modelopt" : text_of(*section, "quant_method");
  if (method == "modelopt" || method == "modelopt_fp4") return modelopt(*section);
  if (method == "compressed-tensors") return compressed_tensors(*section);
  QuantizationConfig config;
  config.problems.push_back(fmt::format(
      "quant_method is {}, not 'modelopt' or 'compressed-tensors'", quoted_name(method)));
  return config;
}

}  // namespace nvfp4
