// SPDX-License-Identifier: Apache-2.0
// The text of templates/, embedded at build time: what NVRTC compiles, whatever is on the disk.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace nvfp4 {

struct TemplateFile {
  std::string_view name;  ///< as included: "gemm_mma.cuh"
  std::string_view text;
};

std::span<const TemplateFile> template_files();

/// SHA-256 over names and texts: the identity of the templates in keys and rows.
const std::string& template_digest();

}  // namespace nvfp4
