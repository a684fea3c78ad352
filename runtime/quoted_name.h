// SPDX-License-Identifier: Apache-2.0
// Names that a file from a stranger holds, made fit for a message: they may carry escape sequences,
// line breaks, direction marks or a megabyte of anything.
#pragma once

#include <string>
#include <string_view>

namespace nvfp4 {

constexpr size_t kShownNameBytes = 160;  ///< of a longer name the start is shown, and its length
constexpr size_t kShownPathBytes = 4096;

/// `name` with control characters, invisible direction marks and broken UTF-8 as \x1b, \u202e.
std::string printable(std::string_view name, size_t shown_bytes = kShownNameBytes);

/// A path, which is the user's own for the most part and is shown whole.
inline std::string printable_path(std::string_view path) {
  return printable(path, kShownPathBytes);
}

/// The same between single quotes.
std::string quoted_name(std::string_view name);

}  // namespace nvfp4
