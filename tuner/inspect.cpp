// SPDX-License-Identifier: Apache-2.0
// The command: what was read as a table, the memory plan under it, and the packed file beside it.
#include "tuner/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <thread>

#include "runtime/checkpoint.h"
#include "runtime/packed_file.h"
#include "runtime/quoted_name.h"
#include "tuner/inspected_model.h"
#include "tuner/memory_plan.h"
#include "tuner/session.h"
#include "tuner/table.h"

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;

int threads_of(const CommandLine& line) {
  return line.jobs > 0 ? line.jobs
                       : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

Table table_of(const InspectedModel& model) {
  Table table{.facts = model.facts,
              .columns = {{"layer", "layer"},
                          {"weights", "weights"},
                          {"n", "N"},
                          {"k", "K"},
                          {"count", "count"},
                          {"checkpoint_bytes", "stored MB", 1, 1e-6},
                          {"packed_bytes", "packed MB", 1, 1e-6}}};
  const auto remarked = [](const auto& row) { return !row.remark.empty(); };
  if (std::any_of(model.gemms.begin(), model.gemms.end(), remarked) ||
      std::any_of(model.others.begin(), model.others.end(), remarked)) {
    table.columns.push_back({"remark", "remark"});
  }
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

void add_memory(const CommandLine& line, const Terminal& terminal, const InspectedModel& model,
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

// True for what --pack has written; what cannot be opened is left to those who say why.
bool is_packed_file(const fs::path& path) {
  try {
    return fs::is_regular_file(path) && SafetensorsFile(path).metadata(kPackedLayoutKey) != nullptr;
  } catch (const std::runtime_error&) {
    return false;
  }
}

}  // namespace

Answered run_inspect(const CommandLine& line, const Terminal& terminal) {
  const fs::path path = line.checkpoint;
  const std::optional<ConfigText> config = find_config(line.checkpoint);
  std::error_code error;
  if (!config && !fs::exists(path, error)) {
    throw CheckpointError(
        fmt::format("{}: no such file or folder", printable_path(line.checkpoint)));
  }
  const InspectOptions options{
      .layers = line.layers, .ranks = line.ranks, .threads = threads_of(line)};
  std::optional<Checkpoint> checkpoint;
  InspectedModel model;
  if (config) {
    model = inspect_config(config->text, config->file, options);
  } else if (is_packed_file(path)) {
    if (line.ranks > 1) throw UsageError("--tp does not apply to a packed file");
    model = inspect_packed(PackedFile(path), options);
  } else {
    model = inspect_checkpoint(checkpoint.emplace(path), options);
  }
  if (!checkpoint && line.pack) {
    throw CheckpointError(fmt::format("{}: no weights to pack", printable_path(line.checkpoint)));
  }
  Table table = table_of(model);
  if (line.memory) add_memory(line, terminal, model, table);
  for (const std::string& problem : model.problems) warn(terminal, problem);
  Answered answered{.code = model.problems.empty() ? ExitCode::ok : ExitCode::failed,
                    .text = render(table, line.format)};
  if (line.pack && !model.problems.empty()) {
    warn(terminal, fmt::format("not packed: {} problems", model.problems.size()));
  } else if (line.pack) {
    pack_to(line, terminal, *checkpoint);
  }
  return answered;
}

}  // namespace nvfp4
