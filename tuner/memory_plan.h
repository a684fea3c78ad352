// SPDX-License-Identifier: Apache-2.0
// What a model takes on a card when it runs a step: weights, the kernels' workspace, activations.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "generator/device.h"
#include "runtime/lookup.h"

namespace nvfp4 {

/// GEMMs of one name and shape, as one rank runs them.
struct PlannedGemm {
  std::string name;  ///< with '*' for the number of the layer
  int64_t n = 0;     ///< weight rows; each part of a stack starts at a multiple of 64
  int64_t k = 0;
  int64_t count = 0;             ///< matrices
  int64_t experts = 0;           ///< of them that one launch chooses from; 0: a launch each
  int64_t experts_per_token = 0;
  int64_t checkpoint_bytes = 0;  ///< of all of them, as stored
  int64_t packed_bytes = 0;      ///< of all of them
  std::string remark;            ///< what a reader should know of it, or empty
};

/// Bytes on one card.
struct MemoryPlan {
  int64_t packed_weights = 0;
  int64_t other_weights = 0;  ///< what is not NVFP4, as stored
  int64_t workspace = 0;      ///< the largest of any GEMM: they share it on one stream
  int64_t activations = 0;    ///< the widest GEMM's input and output, and the residual stream
  int64_t total() const { return packed_weights + other_weights + workspace + activations; }
};

/// One step of `m` tokens. `hidden` is the width of the residual stream, 0 when it is not known.
/// Kernels are those that the library would choose from `snapshot`. No KV cache.
MemoryPlan memory_plan(std::span<const PlannedGemm> gemms, int64_t other_weights, int64_t hidden,
                       int64_t m, Activation act, const Device& device, const Snapshot& snapshot);

/// "1.25 GB", "310 MB", "17 kB": decimal, as bandwidths are.
std::string bytes_text(int64_t bytes);

}  // namespace nvfp4
