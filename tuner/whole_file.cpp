// SPDX-License-Identifier: Apache-2.0
// Reading, and writing by rename.
#include "tuner/whole_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

[[noreturn]] void fail(std::string_view what, const std::string& path, std::string_view why) {
  throw FileError(fmt::format("cannot {} {}: {}", what, path, why));
}

[[noreturn]] void fail(std::string_view what, const std::string& path) {
  fail(what, path, std::strerror(errno));
}

// `shown` is the path that the user knows.
void write(const std::string& path, std::string_view text, const std::string& shown) {
  File file(std::fopen(path.c_str(), "wbe"));
  if (!file) fail("write", shown);
  const bool written = std::fwrite(text.data(), 1, text.size(), file.get()) == text.size();
  if (!written || std::fclose(file.release()) != 0) fail("write", shown);
}

// There, and no file that a rename may replace.
bool is_special(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored) && !fs::is_regular_file(path, ignored);
}

// Where a rename puts a file without replacing a link to it.
std::string target_of(const std::string& path) {
  std::error_code error;
  const fs::path target = fs::weakly_canonical(path, error);
  return error ? path : target.string();
}

std::string beside(const std::string& target) { return fmt::format("{}.{}.tmp", target, getpid()); }

}  // namespace

std::string read_file(const std::string& path, size_t limit) {
  if (is_special(path)) fail("read", path, "no regular file");
  const File file(std::fopen(path.c_str(), "rbe"));
  if (!file) fail("read", path);
  std::string text;
  char chunk[1 << 16];
  while (const size_t count = std::fread(chunk, 1, sizeof chunk, file.get())) {
    text.append(chunk, count);
    if (text.size() > limit) fail("read", path, fmt::format("it exceeds {} bytes", limit));
  }
  if (std::ferror(file.get()) != 0) fail("read", path);
  return text;
}

void replace_file(const std::string& path, std::string_view text) {
  if (is_special(path)) return write(path, text, path);
  const std::string target = target_of(path);
  const std::string draft = beside(target);
  std::error_code error;
  try {
    write(draft, text, path);
    // Who could read the old file can read the new one.
    const fs::perms old = fs::status(target, error).permissions();
    if (fs::exists(target, error)) fs::permissions(draft, old, error);
    if (std::rename(draft.c_str(), target.c_str()) != 0) fail("write", path);
  } catch (const FileError&) {
    fs::remove(draft, error);
    throw;
  }
}

void check_replaceable(const std::string& path) {
  if (is_special(path)) {
    if (access(path.c_str(), W_OK) != 0) fail("write", path);
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) fail("write", path, std::strerror(EISDIR));
    return;
  }
  const std::string draft = beside(target_of(path));
  write(draft, "", path);
  std::error_code ignored;
  fs::remove(draft, ignored);
}

}  // namespace nvfp4
