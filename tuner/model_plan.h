// SPDX-License-Identifier: Apache-2.0
// What it takes to tune many shapes: what the database has, what is missing, about how long that
// takes, and who of several does which part.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tuner/model_shapes.h"
#include "tuner/tune.h"

namespace nvfp4 {

/// One shape with all its token counts: the smallest piece of work that is given away. Its kernels
/// are compiled once for all of them, and the intervals of M between them are probed together.
struct PlannedShape {
  ModelShape shape;
  int wanted = 0;      ///< winners: one for each M and policy
  int known = 0;       ///< of those, in the database with this toolchain
  double seconds = 0;  ///< for what is missing, about
};

/// Not all of its winners are known.
bool has_work(const PlannedShape& planned);

struct ModelPlan {
  std::vector<PlannedShape> shapes;  ///< of this share, in the order to tune
  size_t all_shapes = 0;             ///< of every share
  double seconds = 0;
};

/// About how long tuning a shape takes, whoever does it: kinds of device are told apart, devices
/// are not, so that every process of a split comes to the same figure.
double estimated_seconds(const ModelShape& shape, const TuneRequest& request, const Device& device);

/// The share `shard` of things that cost `costs`: indices, ascending. Shares are disjoint, cover
/// everything, and differ by at most the cost of one thing (largest first, to the least loaded).
std::vector<size_t> share_of(std::span<const double> costs, const Shard& shard);

/// The work of one shard. `request` holds everything but the problem's N and K.
ModelPlan make_model_plan(std::span<const ModelShape> shapes, const TuneRequest& request,
                          const Device& device, const Toolchain& toolchain, TuningDb& database,
                          const Shard& shard);

/// The request for one of the shapes. Experts see the rows that the tokens of a step make.
TuneRequest request_for(const TuneRequest& request, const ModelShape& shape);

}  // namespace nvfp4
