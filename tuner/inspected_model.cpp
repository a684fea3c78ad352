// SPDX-License-Identifier: Apache-2.0
// Rows are grouped by name without the numbers of layers and experts.
#include "tuner/inspected_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "generator/model_bundle.h"
#include "generator/problem.h"
#include "runtime/model_config.h"
#include "runtime/quoted_name.h"
#include "tuner/whole_file.h"

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;

constexpr size_t kConfigBytes = size_t{16} << 20;

bool has_weights(const fs::path& folder) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".safetensors") || name.ends_with(".index.json")) return true;
  }
  return false;
}

// "model.layers.12.mlp" as "model.layers.*.mlp".
std::string without_numbers(std::string_view name) {
  std::string text;
  size_t begin = 0;
  while (begin <= name.size()) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    const bool number = !part.empty() && std::all_of(part.begin(), part.end(),
                                                     [](char c) { return c >= '0' && c <= '9'; });
    text += number ? "*" : part;
    if (end < name.size()) text += '.';
    begin = end + 1;
  }
  return text;
}

std::string row_name(const InspectOptions& options, std::string_view name) {
  return options.layers ? std::string(name) : without_numbers(name);
}

// Whether the config means the layer `name` to be as it is.
std::string remark_of(const Checkpoint& checkpoint, std::string_view name, bool quantized) {
  const std::optional<QuantizationConfig>& config = checkpoint.quantization();
  const bool left_out = config && config->ignores(name);
  if (!left_out) return "";
  return quantized ? "though the config leaves it out" : "left out by the config";
}

// o_proj and down_proj read what other ranks computed: their K is split, all others' N.
bool splits_k(std::string_view name) {
  return name.ends_with("o_proj") || name.ends_with("down_proj") || name.ends_with(".w2");
}

/// The share of a stack that one of `ranks` ranks holds; notes a problem when it has none.
PlannedGemm planned(const Checkpoint& checkpoint, const LayerStack& stack, int64_t ranks,
                    std::vector<std::string>& problems) {
  PlannedGemm gemm{.k = stack.k, .count = 1};
  const bool along_k = splits_k(stack.name);
  if (along_k) gemm.k /= ranks;
  bool divides = !along_k || (stack.k % ranks == 0 && gemm.k % kBlockSize == 0);
  for (int part : stack.parts) {
    const Nvfp4Layer& layer = checkpoint.layers()[part];
    const int64_t rows = along_k ? layer.n : layer.n / ranks;
    divides = divides && (along_k || layer.n % ranks == 0);
    gemm.n = (gemm.n + kTileRows - 1) / kTileRows * kTileRows + rows;  // starts on a row tile
    gemm.checkpoint_bytes += layer.bytes() / ranks;
  }
  if (!divides) {
    problems.push_back(
        fmt::format("{} does not divide among {} ranks", printable(stack.name), ranks));
  }
  gemm.packed_bytes = divides ? packed_bytes(gemm.n, gemm.k) : 0;
  return gemm;
}

// The expert that a layer belongs to: 17 for "model.layers.3.mlp.experts.17.down_proj".
std::optional<std::string> expert_of(std::string_view name) {
  constexpr std::string_view kExperts = ".experts.";
  const size_t at = name.find(kExperts);
  if (at == name.npos) return std::nullopt;
  const std::string_view rest = name.substr(at + kExperts.size());
  return std::string(rest.substr(0, rest.find('.')));
}

void add(std::vector<PlannedGemm>& gemms, std::map<std::string, size_t>& rows, std::string name,
         const PlannedGemm& gemm) {
  const std::string key = fmt::format("{}|{}|{}|{}", name, gemm.n, gemm.k, gemm.remark);
  const auto [at, added] = rows.emplace(key, gemms.size());
  if (added) {
    gemms.push_back(gemm);
    gemms.back().name = std::move(name);
    return;
  }
  PlannedGemm& row = gemms[at->second];
  row.count += gemm.count;
  row.checkpoint_bytes += gemm.checkpoint_bytes;
  row.packed_bytes += gemm.packed_bytes;
}

// Empty when the config is none that this program knows.
std::optional<ModelConfig> config_of(const Checkpoint& checkpoint) {
  try {
    if (checkpoint.config_text().empty()) return std::nullopt;
    return parse_model_config(checkpoint.config_text(), "config.json");
  } catch (const ModelConfigError&) {
    return std::nullopt;
  }
}

// 1 when nothing says how many.
int64_t experts_per_token(const std::optional<ModelConfig>& config) {
  int64_t most = 1;
  if (!config) return most;
  for (const FeedForward& layers : config->feed_forward) {
    most = std::max(most, layers.experts_per_token);
  }
  return most;
}

}  // namespace

InspectedModel inspect_checkpoint(const Checkpoint& checkpoint, const InspectOptions& options) {
  InspectedModel result;
  result.problems.assign(checkpoint.problems().begin(), checkpoint.problems().end());
  if (options.scales) {
    for (std::string& problem : find_nan_scales(checkpoint, options.threads)) {
      result.problems.push_back(std::move(problem));
    }
  }
  if (checkpoint.layers().empty() && result.problems.empty()) {
    result.problems.push_back("no NVFP4 layers");
  }
  std::map<std::string, size_t> rows;
  std::map<std::string, std::set<std::string>> experts;  // by the name of their row
  for (const LayerStack& stack : checkpoint.stacks()) {
    PlannedGemm gemm = planned(checkpoint, stack, options.ranks, result.problems);
    gemm.remark = remark_of(checkpoint, checkpoint.layers()[stack.parts[0]].name, true);
    const std::string row = row_name(options, stack.name);
    if (const auto expert = expert_of(stack.name)) experts[row].insert(*expert);
    add(result.gemms, rows, row, gemm);
  }
  const std::optional<ModelConfig> config = config_of(checkpoint);
  for (PlannedGemm& gemm : result.gemms) {
    if (!experts.contains(gemm.name)) continue;
    gemm.experts = static_cast<int64_t>(experts[gemm.name].size());
    gemm.experts_per_token = experts_per_token(config);
  }
  std::map<std::string, size_t> other_rows;
  for (const TensorPlace& place : checkpoint.others()) {
    const std::string type = type_text(*place.tensor);
    const std::string& full = place.tensor->name;
    const std::string remark =
        remark_of(checkpoint, std::string_view(full).substr(0, full.rfind('.')), false);
    const std::string name = row_name(options, full);
    const std::string key = fmt::format("{}|{}|{}", name, type, remark);
    const auto [at, added] = other_rows.emplace(key, result.others.size());
    if (added) result.others.push_back({.name = name, .type = type, .remark = remark});
    result.others[at->second].count += 1;
    result.others[at->second].bytes += place.tensor->bytes;
  }
  int64_t bytes = 0;
  for (const auto& file : checkpoint.files()) bytes += file->file_bytes();
  result.facts["files"] = checkpoint.files().size();
  result.facts["bytes"] = bytes;
  result.facts["convention"] =
      checkpoint.layers().empty() ? "none" : name(checkpoint.layers()[0].convention);
  result.facts["nvfp4_layers"] = checkpoint.layers().size();
  // Without it the memory plan lacks the residual stream.
  if (config) result.hidden = config->hidden_size;
  return result;
}

std::optional<ConfigText> find_config(const std::string& where) {
  std::error_code error;
  fs::path path = where;
  if (!fs::exists(path, error)) {
    const ModelFile* file = find_model(where);
    if (file == nullptr) return std::nullopt;
    return ConfigText{std::string(file->text), std::string(file->name)};
  }
  if (fs::is_directory(path, error)) {
    if (has_weights(path)) return std::nullopt;
    path /= "config.json";
  } else if (path.extension() != ".json" || path.string().ends_with(".index.json")) {
    return std::nullopt;
  }
  return ConfigText{read_file(path.string(), kConfigBytes), printable_path(path.string())};
}

InspectedModel inspect_config(std::string_view text, std::string_view file,
                              const InspectOptions& options) {
  InspectedModel result;
  const ModelConfig config = parse_model_config(text, file);
  const std::optional<QuantizationConfig> quantization = parse_quantization_config(text, file);
  for (const ModelGemm& gemm : model_gemms(config, options.ranks, Fused::yes)) {
    // Of the others a config alone does not say which layers of a kind are left out.
    if (gemm.kind == "lm_head" && quantization && quantization->ignores(gemm.kind)) {
      result.others.push_back({.name = gemm.kind,
                               .type = fmt::format("BF16 [{}, {}]", gemm.n, gemm.k),
                               .count = gemm.count,
                               .bytes = 2 * gemm.n * gemm.k * gemm.count,
                               .remark = "left out by the config"});
      continue;
    }
    const int64_t stored = gemm.n * gemm.k / 2 + gemm.n * gemm.k / kBlockSize;
    result.gemms.push_back({.name = gemm.kind,
                            .n = gemm.n,
                            .k = gemm.k,
                            .count = gemm.count,
                            .experts = gemm.experts,
                            .experts_per_token = gemm.experts_per_token,
                            .checkpoint_bytes = stored * gemm.count,
                            .packed_bytes = packed_bytes(gemm.n, gemm.k) * gemm.count});
  }
  result.hidden = config.hidden_size;
  result.facts["files"] = 0;
  result.facts["convention"] = "config.json only: as if all were NVFP4";
  return result;
}

InspectedModel inspect_packed(const PackedFile& file, const InspectOptions& options) {
  InspectedModel result;
  std::map<std::string, size_t> rows;
  for (const PackedStack& stack : file.stacks()) {
    const PlannedGemm gemm{.n = stack.stacked_rows(),
                           .k = stack.k,
                           .count = 1,
                           .checkpoint_bytes = stack.tensor->bytes,
                           .packed_bytes = stack.tensor->bytes};
    add(result.gemms, rows, row_name(options, stack.name), gemm);
  }
  for (const std::string& name : file.damaged(options.threads)) {
    result.problems.push_back(
        fmt::format("{}: its bytes are not those that were written", printable(name)));
  }
  result.facts["files"] = 1;
  result.facts["convention"] = "packed";
  result.facts["nvfp4_layers"] = file.stacks().size();
  return result;
}

}  // namespace nvfp4
