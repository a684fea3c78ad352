// SPDX-License-Identifier: Apache-2.0
#include "runtime/installed_files.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <system_error>

namespace nvfp4 {
namespace {

std::vector<std::string> databases_in(const std::filesystem::path& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    if (at->path().extension() == ".db") paths.push_back(at->path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

std::vector<std::filesystem::path> own_folders() {
  std::vector<std::filesystem::path> folders;
  std::error_code ignored;
  Dl_info self{};
  if (dladdr(reinterpret_cast<const void*>(&own_folders), &self) && self.dli_fname) {
    const auto file = std::filesystem::canonical(self.dli_fname, ignored);
    if (!file.empty()) folders.push_back(file.parent_path());
  }
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  if (!program.empty()) folders.push_back(program.parent_path());
  return folders;
}

std::vector<std::string> shipped_databases() {
  if (const char* folder = std::getenv("NVFP4_SHIPPED")) return databases_in(folder);
  for (const std::filesystem::path& own : own_folders()) {
    for (const std::filesystem::path& base : {own, own.parent_path()}) {
      std::vector<std::string> paths = databases_in(base / "share" / "nvfp4");
      if (!paths.empty()) return paths;
    }
  }
  return {};
}

}  // namespace nvfp4
