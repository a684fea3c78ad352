// SPDX-License-Identifier: Apache-2.0
// A model as rows of GEMMs and other weights: read from a checkpoint, from a packed file, or from a
// config alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/checkpoint.h"
#include "runtime/packed_file.h"
#include "tuner/memory_plan.h"

namespace nvfp4 {

/// What is not NVFP4: one name and type.
struct OtherWeights {
  std::string name;
  std::string type;  ///< "BF16 [64]"
  int64_t count = 0;
  int64_t bytes = 0;
  std::string remark;
};

struct InspectedModel {
  std::vector<PlannedGemm> gemms;
  std::vector<OtherWeights> others;
  std::vector<std::string> problems;
  int64_t hidden = 0;  ///< width of the residual stream, 0 when it is not known
  nlohmann::ordered_json facts = nlohmann::ordered_json::object();
};

struct InspectOptions {
  bool layers = false;  ///< a row for each layer; else layers that differ in numbers only are one
  int64_t ranks = 1;
  int threads = 1;
};

/// Headers and block scales are read, codes are not.
InspectedModel inspect_checkpoint(const Checkpoint& checkpoint, const InspectOptions& options);

/// Reads the whole file, to compare its checksums.
InspectedModel inspect_packed(const PackedFile& file, const InspectOptions& options);

/// Every GEMM of a config.json as if it were NVFP4.
InspectedModel inspect_config(const std::filesystem::path& path, const InspectOptions& options);

}  // namespace nvfp4
