// SPDX-License-Identifier: Apache-2.0
// The GEMM shapes of whole models, each once, under one or more degrees of tensor parallelism: what
// there is to tune for them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nvfp4 {

struct InspectedModel;  // inspected_model.h
struct InspectOptions;

/// One way in which a model uses a shape.
struct ShapeUse {
  std::string model;  ///< as it was given
  int64_t ranks = 1;
  std::string layer;     ///< "gate_up_proj"
  int64_t launches = 0;  ///< of one step, on each rank
};

/// One GEMM and who wants it.
struct ModelShape {
  int64_t n = 0;
  int64_t k = 0;
  int64_t experts = 0;         ///< of a grouped launch; 0: dense
  int64_t rows_per_token = 1;  ///< a token of a step goes to that many experts
  std::vector<ShapeUse> uses = {};

  int64_t launches() const;  ///< of all uses
  /// Of one step of a model on one of `ranks` ranks.
  int64_t launches(std::string_view model, int64_t ranks) const;
};

/// The model at `where`: a checkpoint, or what find_config() knows. The headers of weights count
/// for more than the config beside them: they say which layers are NVFP4. Throws UsageError for
/// what is neither, and what the readers throw.
InspectedModel read_model(const std::string& where, const InspectOptions& options);

/// Shapes of all `models` that differ, most launches first. `ranks` is ascending.
std::vector<ModelShape> model_shapes(std::span<const std::string> models,
                                     std::span<const int64_t> ranks);

/// Folds rows of one model under one degree of parallelism into `shapes`, which stay in the order
/// of their coming.
void add_shapes(std::vector<ModelShape>& shapes, std::string_view name, const InspectedModel& model,
                int64_t ranks);

/// Most launches first; then the larger, so that every process has the same order.
void sort_by_use(std::vector<ModelShape>& shapes);

/// "21504 x 5376", "32 x 5760 x 2880".
std::string shape_text(const ModelShape& shape);

}  // namespace nvfp4
