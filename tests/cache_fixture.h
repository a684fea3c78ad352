// SPDX-License-Identifier: Apache-2.0
// A compilation that no compiler made, keys to keep it under, and a cache folder that records
// warnings.
#pragma once

#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "runtime/cubin_cache.h"
#include "tests/temporary_folder.h"

namespace nvfp4 {

inline const std::string kKey(64, 'a');

/// A key that differs from the others by its number.
inline std::string key_of(int number) {
  const std::string digits = std::to_string(number);
  return std::string(64 - digits.size(), '0') + digits;
}

inline Compilation sample_compilation(size_t cubin_bytes = 1000) {
  Compilation c;
  c.ok = true;
  c.cubin = std::string(cubin_bytes, '\x7f');
  c.ptx = ".version 9.0\n";
  c.log =
      "x.cu(1): warning #1: w\nptxas info    : Used 90 registers, used 1 barriers, 64 bytes smem";
  c.resources = parse_resources(c.log);
  c.warnings = parse_warnings(c.log);
  return c;
}

struct CacheFixture {
  TemporaryFolder folder;
  std::vector<std::string> warnings;

  CacheOptions options(const std::filesystem::path& directory, int64_t limit = 1 << 30) {
    return {directory, limit, [this](const std::string& text) { warnings.push_back(text); }};
  }
  CacheOptions options() { return options(folder / "cache"); }
  std::filesystem::path entry() const { return folder / "cache" / (kKey + ".entry"); }
};

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
}

/// The wait status of a child that ended.
inline int wait_for(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

}  // namespace nvfp4
