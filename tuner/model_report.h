// SPDX-License-Identifier: Apache-2.0
// The plan of models, and what came of it, as tables.
#pragma once

#include <span>
#include <vector>

#include "tuner/model_plan.h"
#include "tuner/tune.h"

namespace nvfp4 {

struct Table;  // table.h

/// What a run is about, for the head of its tables.
struct ModelScope {
  std::vector<std::string> models;  ///< as they were given; none for shapes
  std::vector<int64_t> tps;         ///< degrees of tensor parallelism
  Shard shard;
  const TuneRequest& request;
  const Device& device;
  size_t devices = 1;  ///< that share the shapes
};

/// A shape and the winners that it has now.
struct TunedShape {
  ModelShape shape;
  std::vector<Choice> choices;
};

/// Each shape: who uses it, how often, what is known, how long the rest takes.
Table plan_table(const ModelPlan& plan, const ModelScope& scope);

/// Each shape and M, and the sums over a step of each model.
Table model_table(std::span<const TunedShape> shapes, const ModelScope& scope);

/// The built-in models and their shapes.
Table models_table();

}  // namespace nvfp4
