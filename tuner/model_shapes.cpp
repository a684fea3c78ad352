// SPDX-License-Identifier: Apache-2.0
// From rows of models to shapes without duplicates.
#include "tuner/model_shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <tuple>

#include "generator/model_bundle.h"
#include "runtime/checkpoint.h"
#include "runtime/quoted_name.h"
#include "tuner/command_line.h"
#include "tuner/inspected_model.h"

namespace nvfp4 {
namespace {

std::string model_names() {
  std::string names;
  for (const ModelFile& file : model_files()) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", file.name);
  }
  return names;
}

}  // namespace

int64_t ModelShape::launches() const {
  int64_t sum = 0;
  for (const ShapeUse& use : uses) sum += use.launches;
  return sum;
}

int64_t ModelShape::launches(std::string_view model, int64_t ranks) const {
  int64_t sum = 0;
  for (const ShapeUse& use : uses) {
    if (use.model == model && use.ranks == ranks) sum += use.launches;
  }
  return sum;
}

InspectedModel read_model(const std::string& where, const InspectOptions& options) {
  if (const std::optional<ConfigText> config = find_config(where)) {
    return inspect_config(config->text, config->file, options);
  }
  std::error_code error;
  if (std::filesystem::exists(where, error)) return inspect_checkpoint(Checkpoint(where), options);
  throw UsageError(fmt::format("--model {}: no such file or folder, and no name of {}",
                               printable_path(where), model_names()));
}

void add_shapes(std::vector<ModelShape>& shapes, std::string_view name, const InspectedModel& model,
                int64_t ranks) {
  for (const PlannedGemm& gemm : model.gemms) {
    const int64_t rows = std::max<int64_t>(gemm.experts_per_token, 1);
    const auto same = [&](const ModelShape& shape) {
      return shape.n == gemm.n && shape.k == gemm.k && shape.experts == gemm.experts &&
             shape.rows_per_token == rows;
    };
    auto found = std::find_if(shapes.begin(), shapes.end(), same);
    if (found == shapes.end()) {
      shapes.push_back({.n = gemm.n, .k = gemm.k, .experts = gemm.experts, .rows_per_token = rows});
      found = shapes.end() - 1;
    }
    const int64_t launches = gemm.count / std::max<int64_t>(gemm.experts, 1);
    found->uses.push_back(
        {.model = std::string(name), .ranks = ranks, .layer = gemm.name, .launches = launches});
  }
}

void sort_by_use(std::vector<ModelShape>& shapes) {
  std::stable_sort(shapes.begin(), shapes.end(), [](const ModelShape& a, const ModelShape& b) {
    return std::tuple(-a.launches(), -a.n * a.k, -a.n, -a.experts, a.rows_per_token) <
           std::tuple(-b.launches(), -b.n * b.k, -b.n, -b.experts, b.rows_per_token);
  });
}

std::vector<ModelShape> model_shapes(std::span<const std::string> models,
                                     std::span<const int64_t> ranks) {
  std::vector<ModelShape> shapes;
  const auto add = [&](const std::string& model, int64_t count) {
    const InspectedModel read = read_model(model, {.ranks = count, .scales = false});
    if (!read.problems.empty()) throw CheckpointError(read.problems.front());
    add_shapes(shapes, model, read, count);
  };
  for (const std::string& model : models) {
    for (const int64_t count : ranks) {
      try {
        add(model, count);
      } catch (const std::runtime_error& error) {
        if (models.size() == 1 && ranks.size() == 1) throw;
        // Which of several is at fault.
        throw UsageError(fmt::format("{} at tp {}: {}", model, count, error.what()));
      }
    }
  }
  sort_by_use(shapes);
  return shapes;
}

std::string shape_text(const ModelShape& shape) {
  const std::string text = fmt::format("{} x {}", shape.n, shape.k);
  return shape.experts == 0 ? text : fmt::format("{} x {}", shape.experts, text);
}

}  // namespace nvfp4
