// SPDX-License-Identifier: Apache-2.0
// Layers whose names differ in numbers only are one row. Headers and block scales are read, codes
// only to pack them.
#include "tuner/inspect.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <thread>
#include <tuple>

#include "generator/problem.h"
#include "runtime/checkpoint.h"
#include "runtime/model_config.h"
#include "runtime/packed_file.h"
#include "runtime/quoted_name.h"
#include "tuner/memory_plan.h"
#include "tuner/session.h"
#include "tuner/table.h"
#include "tuner/whole_file.h"

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr size_t kConfigBytes = size_t{16} << 20;

/// What is not NVFP4: one name and type.
struct OtherWeights {
  std::string name;
  std::string type;
  int64_t count = 0;
  int64_t bytes = 0;
  std::string remark;
};

/// A model as far as it could be read, from its weights or from its config alone.
struct Inspected {
  std::vector<PlannedGemm> gemms;
  std::vector<OtherWeights> others;
  std::vector<std::string> problems;
  int64_t hidden = 0;
  Json facts = Json::object();
};

/// "model.layers.12.mlp" as "model.layers.*.mlp".
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

std::string row_name(const CommandLine& line, std::string_view name) {
  return line.layers ? std::string(name) : without_numbers(name);
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
    gemm.n += (rows + kTileRows - 1) / kTileRows * kTileRows;
    gemm.checkpoint_bytes += layer.bytes() / ranks;
  }
  if (!divides) {
    problems.push_back(
        fmt::format("{} does not divide among {} ranks", printable(stack.name), ranks));
  }
  if (stack.parts.size() == 1 && !along_k) {  // nothing follows: its rows are the GEMM's
    gemm.n = checkpoint.layers()[stack.parts[0]].n / ranks;
  }
  gemm.packed_bytes = divides ? packed_bytes(gemm.n, gemm.k) : 0;
  return gemm;
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

int threads_of(const CommandLine& line) {
  return line.jobs > 0 ? line.jobs
                       : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::optional<ModelConfig> config_of(const std::string& text, std::string_view file,
                                     std::string* why) {
  if (text.empty()) return std::nullopt;
  try {
    return parse_model_config(text, file);
  } catch (const ModelConfigError& error) {
    if (why != nullptr) *why = error.what();
    return std::nullopt;
  }
}

Inspected inspect_weights(const CommandLine& line, const Checkpoint& checkpoint) {
  Inspected result;
  result.problems.assign(checkpoint.problems().begin(), checkpoint.problems().end());
  for (std::string& problem : find_nan_scales(checkpoint, threads_of(line))) {
    result.problems.push_back(std::move(problem));
  }
  if (checkpoint.layers().empty() && result.problems.empty()) {
    result.problems.push_back("no NVFP4 layers");
  }
  std::map<std::string, size_t> rows;
  for (const LayerStack& stack : checkpoint.stacks()) {
    PlannedGemm gemm = planned(checkpoint, stack, line.ranks, result.problems);
    gemm.remark = remark_of(checkpoint, checkpoint.layers()[stack.parts[0]].name, true);
    add(result.gemms, rows, row_name(line, stack.name), gemm);
  }
  std::map<std::string, size_t> other_rows;
  for (const TensorPlace& place : checkpoint.others()) {
    const std::string type = type_text(*place.tensor);
    const std::string& full = place.tensor->name;
    const std::string remark =
        remark_of(checkpoint, std::string_view(full).substr(0, full.rfind('.')), false);
    const std::string name = row_name(line, full);
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
  if (const auto config = config_of(checkpoint.config_text(), "config.json", nullptr)) {
    result.hidden = config->hidden_size;
  }
  return result;
}

// Every GEMM of the config as if it were NVFP4.
Inspected inspect_config(const CommandLine& line, const fs::path& path) {
  Inspected result;
  const ModelConfig config =
      parse_model_config(read_file(path.string(), kConfigBytes), printable_path(path.string()));
  for (const ModelGemm& gemm : model_gemms(config, line.ranks, Fused::yes)) {
    const int64_t stored = gemm.n * gemm.k / 2 + gemm.n * gemm.k / kBlockSize;
    result.gemms.push_back({.name = gemm.kind,
                            .n = gemm.n,
                            .k = gemm.k,
                            .count = gemm.count,
                            .checkpoint_bytes = stored * gemm.count,
                            .packed_bytes = packed_bytes(gemm.n, gemm.k) * gemm.count});
  }
  result.hidden = config.hidden_size;
  result.facts["files"] = 0;
  result.facts["convention"] = "config.json only: as if all were NVFP4";
  return result;
}

Table table_of(const Inspected& model) {
  Table table{.facts = model.facts,
              .columns = {{"layer", "layer"},
                          {"weights", "weights"},
                          {"n", "N"},
                          {"k", "K"},
                          {"count", "count"},
                          {"checkpoint_bytes", "stored MB", 1, 1e-6},
                          {"packed_bytes", "packed MB", 1, 1e-6},
                          {"remark", "remark"}}};
  for (const PlannedGemm& gemm : model.gemms) {
    table.rows.push_back({{"layer", printable(gemm.name)},
                          {"weights", "NVFP4"},
                          {"n", gemm.n},
                          {"k", gemm.k},
                          {"count", gemm.count},
                          {"checkpoint_bytes", gemm.checkpoint_bytes},
                          {"packed_bytes", gemm.packed_bytes},
                          {"remark", gemm.remark}});
  }
  for (const OtherWeights& other : model.others) {
    table.rows.push_back({{"layer", printable(other.name)},
                          {"weights", other.type},
                          {"n", nullptr},
                          {"k", nullptr},
                          {"count", other.count},
                          {"checkpoint_bytes", other.bytes},
                          {"packed_bytes", nullptr},
                          {"remark", other.remark}});
  }
  table.facts["problems"] = model.problems;
  return table;
}

void add_memory(const CommandLine& line, const Terminal& terminal, const Inspected& model,
                Table& table) {
  const Gpu gpu = open_gpu(line, terminal);
  const Device& device = gpu.facts();
  const int64_t m = line.batch * line.step_tokens;
  int64_t others = 0;
  for (const OtherWeights& other : model.others) others += other.bytes;
  const MemoryPlan plan = memory_plan(model.gemms, others, model.hidden, m, line.act, device,
                                      open_snapshot(line, device, terminal));
  table.facts["memory"] = {{"device", device.name},
                           {"emulated", device.emulated},
                           {"m", m},
                           {"packed_weights", plan.packed_weights},
                           {"other_weights", plan.other_weights},
                           {"workspace", plan.workspace},
                           {"activations", plan.activations},
                           {"total", plan.total()},
                           {"device_memory", device.memory_bytes}};
  const auto note = [&](std::string_view what, int64_t bytes, std::string_view remark) {
    table.notes.push_back(fmt::format("{:<16} {:>10}{}{}", what, bytes_text(bytes),
                                      remark.empty() ? "" : "  ", remark));
  };
  table.notes.push_back(
      fmt::format("One step of {} tokens on {}, without the KV cache:", m, device.name));
  note("packed weights", plan.packed_weights, "");
  note("other weights", plan.other_weights, line.ranks > 1 ? "not split" : "");
  note("workspace", plan.workspace, "of the GEMM that wants most");
  note("activations", plan.activations, "widest GEMM and residual stream");
  const int64_t left = device.memory_bytes - plan.total();
  note("sum", plan.total(),
       device.memory_bytes == 0 ? "the card's memory is not known"
       : left >= 0
           ? fmt::format("leaves {} of {}", bytes_text(left), bytes_text(device.memory_bytes))
           : fmt::format("exceeds the card's {} by {}", bytes_text(device.memory_bytes),
                         bytes_text(-left)));
}

// True when the file is there already and holds these weights.
bool is_packed(const std::string& path, const Checkpoint& checkpoint) {
  std::error_code error;
  if (!fs::exists(path, error)) return false;
  try {
    return PackedFile(path).source() == source_digest(checkpoint);
  } catch (const std::runtime_error&) {
    return false;
  }
}

void pack_to(const CommandLine& line, const Terminal& terminal, const Checkpoint& checkpoint) {
  const std::string& path = *line.pack;
  if (!line.force && is_packed(path, checkpoint)) {
    return warn(terminal, fmt::format("{} holds these weights already", printable_path(path)));
  }
  const auto begin = std::chrono::steady_clock::now();
  write_packed_file(checkpoint, path,
                    {.threads = threads_of(line), .stopped = terminal.interrupted});
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  int64_t bytes = 0;
  for (const Nvfp4Layer& layer : checkpoint.layers()) bytes += layer.bytes();
  warn(terminal,
       fmt::format("packed {} into {} in {:.1f} s ({:.2f} GB/s)", bytes_text(bytes),
                   printable_path(path), seconds, static_cast<double>(bytes) / 1e9 / seconds));
}

bool has_weights(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return true;
  for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".safetensors") || name.ends_with(".index.json")) return true;
  }
  return false;
}

}  // namespace

Answered run_inspect(const CommandLine& line, const Terminal& terminal) {
  const fs::path path = line.checkpoint;
  std::error_code error;
  if (!fs::exists(path, error)) {
    throw CheckpointError(
        fmt::format("{}: no such file or folder", printable_path(line.checkpoint)));
  }
  std::optional<Checkpoint> checkpoint;
  if (has_weights(path)) checkpoint.emplace(path);
  if (!checkpoint && line.pack) {
    throw CheckpointError(fmt::format("{}: no weights to pack", printable_path(line.checkpoint)));
  }
  Inspected model =
      checkpoint ? inspect_weights(line, *checkpoint) : inspect_config(line, path / "config.json");
  Table table = table_of(model);
  if (line.memory) add_memory(line, terminal, model, table);
  for (const std::string& problem : model.problems) warn(terminal, problem);
  Answered answered{.code = model.problems.empty() ? ExitCode::ok : ExitCode::failed,
                    .text = render(table, line.format)};
  if (checkpoint && line.pack) {
    if (!model.problems.empty()) {
      warn(terminal, fmt::format("not packed: {} problems", model.problems.size()));
    } else {
      pack_to(line, terminal, *checkpoint);
    }
  }
  return answered;
}

}  // namespace nvfp4
