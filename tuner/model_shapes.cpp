// SPDX-License-Identifier: Apache-2.0
// From a model's rows to shapes without duplicates.
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

int64_t ModelShape::launches(int64_t ranks) const {
  int64_t sum = 0;
  for (const ShapeUse& use : uses) sum += use.ranks == ranks ? use.launches : 0;
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

void add_shapes(std::vector<ModelShape>& shapes, const InspectedModel& model, int64_t ranks) {
  for (const PlannedGemm& gemm : model.gemms) {
    const int64_t rows = std::max<int64_t>(gemm.experts_per_token, 1);
    const auto same = [&](const ModelShape& shape) {
      return shape.n == gemm.n && shape.k == gemm.k && shape.experts == gemm.experts &&
             shape.rows_per_token == rows;
    };
    auto found = std::find_if(shapes.begin(), shapes.end(), same);
    if (found == shapes.end()) {
      shapes.push_back(
          {.n = gemm.n, .k = gemm.k, .experts = gemm.experts, .rows_per_token = rows});
      found = shapes.end() - 1;
    }
    const int64_t launches = gemm.count / std::max<int64_t>(gemm.experts, 1);
    found->uses.push_back({.ranks = ranks, .layer = gemm.name, .launches = launches});
  }
}

void sort_by_use(std::vector<ModelShape>& shapes) {
  std::stable_sort(shapes.begin(), shapes.end(), [](const ModelShape& a, const ModelShape& b) {
    return std::tuple(-a.launches(), -a.n * a.k, -a.n, -a.experts, a.rows_per_token) <
           std::tuple(-b.launches(), -b.n * b.k, -b.n, -b.experts, b.rows_per_token);
  });
}

std::vector<ModelShape> model_shapes(const std::string& where, std::span<const int64_t> ranks) {
  std::vector<ModelShape> shapes;
  for (const int64_t count : ranks) {
    try {
      const InspectedModel model = read_model(where, {.ranks = count, .scales = false});
      if (!model.problems.empty()) throw CheckpointError(model.problems.front());
      add_shapes(shapes, model, count);
    } catch (const std::runtime_error& error) {
      if (ranks.size() == 1) throw;
      // Which of several is at fault.
      throw UsageError(fmt::format("{} at tp {}: {}", where, count, error.what()));
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
