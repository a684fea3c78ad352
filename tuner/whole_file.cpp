// SPDX-License-Identifier: Apache-2.0
// Reading, and writing by rename.
#include "tuner/whole_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(std::string_view what, const std::string& path) {
  throw FileError(fmt::format("cannot {} {}: {}", what, path, std::strerror(errno)));
}

void write(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  file.close();
  if (!file) fail("write", path);
}

}  // namespace

std::string read_file(const std::string& path, size_t limit) {
  std::error_code error;
  if (fs::exists(path, error) && !fs::is_regular_file(path, error)) {
    throw FileError(fmt::format("cannot read {}: no regular file", path));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("read", path);
  std::string text;
  char chunk[1 << 16];
  while (file.read(chunk, sizeof chunk), file.gcount() > 0) {
    text.append(chunk, static_cast<size_t>(file.gcount()));
    if (text.size() > limit) {
      throw FileError(fmt::format("cannot read {}: it exceeds {} bytes", path, limit));
    }
  }
  return text;
}

void replace_file(const std::string& path, std::string_view text) {
  std::error_code error;
  if (fs::exists(path, error) && !fs::is_regular_file(path, error)) return write(path, text);
  const std::string beside = fmt::format("{}.{}.tmp", path, getpid());
  try {
    write(beside, text);
    if (std::rename(beside.c_str(), path.c_str()) != 0) fail("write", path);
  } catch (const FileError&) {
    fs::remove(beside, error);
    throw;
  }
}

}  // namespace nvfp4
