// SPDX-License-Identifier: Apache-2.0
// Text files that are read and written whole, so that nobody ever sees half of one.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

namespace nvfp4 {

/// A file that cannot be read or written; the message names it and says why.
class FileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The contents of a regular file of at most `limit` bytes.
std::string read_file(const std::string& path, size_t limit);

/// Puts `text` into a file beside `path` and renames it onto `path`, or onto what `path` is a link
/// to. What is no regular file, e.g. /dev/stdout, is written to directly.
void replace_file(const std::string& path, std::string_view text);

/// Throws what replace_file() would, as far as that can be known, and changes nothing.
void check_replaceable(const std::string& path);

}  // namespace nvfp4
