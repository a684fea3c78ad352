// SPDX-License-Identifier: Apache-2.0
// The order is the order of intent: what the user named, what the active Python environment
// brought, what CUDA_HOME points to, what the loader knows, what stands in the usual folders.
#include "runtime/nvrtc_search.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "libnvrtc.so.";

/// An environment variable that holds an absolute path; empty otherwise, so that no library is ever
/// taken from the current directory.
fs::path environment_path(const char* name) {
  const char* value = std::getenv(name);
  const fs::path path = value ? value : "";
  return path.is_absolute() ? path : fs::path();
}

/// The entries of a folder whose names start with `prefix`, sorted by name; empty without the
/// folder.
std::vector<fs::path> entries(const fs::path& folder, std::string_view prefix) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->path().filename().string().starts_with(prefix)) found.push_back(at->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// Appends the NVRTC libraries of a folder that are named by their major version, newest first.
void append_libraries(const fs::path& folder, std::vector<std::string>& out) {
  std::vector<std::pair<int, std::string>> versions;
  for (const fs::path& path : entries(folder, kPrefix)) {
    const std::string name = path.filename().string();
    int major = 0;
    const auto [end, error] =
        std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), major);
    if (error == std::errc() && end == name.data() + name.size()) {
      versions.emplace_back(-major, path.string());
    }
  }
  std::sort(versions.begin(), versions.end());
  for (auto& [major, path] : versions) out.push_back(std::move(path));
}

/// Folders of Python packages under an environment's root, e.g. ROOT/lib/python3.11/site-packages.
std::vector<fs::path> package_folders(const fs::path& root) {
  std::vector<fs::path> folders;
  if (root.empty()) return folders;
  for (const fs::path& python : entries(root / "lib", "python3")) {
    folders.push_back(python / "site-packages");
    folders.push_back(python / "dist-packages");
  }
  return folders;
}

/// The root of the first `python3` on PATH: /opt/env for /opt/env/bin/python3.
fs::path python_root() {
  const char* path = std::getenv("PATH");
  for (std::string_view rest = path ? path : ""; !rest.empty();) {
    const size_t end = std::min(rest.find(':'), rest.size());
    const fs::path folder = rest.substr(0, end);
    std::error_code error;
    if (folder.is_absolute() && fs::exists(folder / "python3", error)) return folder.parent_path();
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

void append_wheels(std::vector<std::string>& out) {
  std::vector<fs::path> folders;
  const auto append = [&](const fs::path& root) {
    for (fs::path& folder : package_folders(root)) folders.push_back(std::move(folder));
  };
  append(environment_path("VIRTUAL_ENV"));
  append(environment_path("CONDA_PREFIX"));
  append(python_root());
  if (const fs::path home = environment_path("HOME"); !home.empty()) append(home / ".local");
  append("/usr/local");
  append("/usr");
  for (const fs::path& folder : folders) {
    append_libraries(folder / "nvidia/cu13/lib", out);        // CUDA 13 wheels share one folder
    append_libraries(folder / "nvidia/cuda_nvrtc/lib", out);  // CUDA 12 wheels have one each
  }
}

}  // namespace

std::vector<std::string> nvrtc_libraries() {
  if (const char* chosen = std::getenv("NVFP4_NVRTC"); chosen && *chosen) return {chosen};
  std::vector<std::string> libraries;
  append_wheels(libraries);
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    const fs::path home = environment_path(name);
    if (home.empty()) continue;
    append_libraries(home / "lib64", libraries);
    append_libraries(home / "lib", libraries);
  }
  libraries.insert(libraries.end(), {"libnvrtc.so.13", "libnvrtc.so.12"});
  std::vector<fs::path> toolkits = entries("/usr/local", "cuda");
  std::reverse(toolkits.begin(), toolkits.end());
  for (const fs::path& toolkit : toolkits) append_libraries(toolkit / "lib64", libraries);
  return libraries;
}

}  // namespace nvfp4
