// SPDX-License-Identifier: Apache-2.0
// Models that people run as NVFP4, by name: the numbers of their public config.json that decide
// GEMM shapes, as files in generator/models/ that are embedded here. Read them with
// runtime/model_config.h, as any other config.json. "_source" in each file says where it is from.
#pragma once

#include <span>
#include <string_view>

namespace nvfp4 {

struct ModelFile {
  std::string_view name;  ///< "gemma-4-31b"
  std::string_view text;  ///< a config.json
};

/// Sorted by name.
std::span<const ModelFile> model_files();

/// Null when there is no model of that name.
const ModelFile* find_model(std::string_view name);

}  // namespace nvfp4
