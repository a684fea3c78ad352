// SPDX-License-Identifier: Apache-2.0
// A model as rows of GEMMs and other weights: read from a checkpoint, from a packed file, or from a
// config alone.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
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
  bool scales = true;  ///< look for NaN among the block scales
};

/// Headers and block scales are read, codes are not. Without `scales`, headers only.
InspectedModel inspect_checkpoint(const Checkpoint& checkpoint, const InspectOptions& options);

/// Reads the whole file, to compare its checksums.
InspectedModel inspect_packed(const PackedFile& file, const InspectOptions& options);

/// Every GEMM of the config.json `text` as if it were NVFP4, but a head that the config leaves out.
/// `file` is for messages. Throws JsonError or ModelConfigError.
InspectedModel inspect_config(std::string_view text, std::string_view file,
                              const InspectOptions& options);

/// A config.json that stands for a model, and what to call it in messages.
struct ConfigText {
  std::string text;
  std::string file;
};

/// The config of a model without weights: a folder with no more than config.json, such a file, or a
/// built-in name (generator/models/) where there is no such path. Empty for anything else, which
/// may be a checkpoint. Throws FileError.
std::optional<ConfigText> find_config(const std::string& where);

}  // namespace nvfp4
