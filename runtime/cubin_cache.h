// SPDX-License-Identifier: Apache-2.0
// Compilations kept by content: the key is everything that decides the machine code and nothing
// else (no path, no time). An entry is one self-checking file, published by one rename, that
// carries its own source and log. A bad entry is a miss and is set aside; a bad directory means
// memory only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "generator/device.h"
#include "runtime/compiler.h"

namespace nvfp4 {

struct CacheOptions {
  std::filesystem::path directory;        ///< empty: memory only
  int64_t size_limit = int64_t{2} << 30;  ///< bytes on disk; the longest unused go
  std::function<void(const std::string& message)>
      warn;  ///< one line; one message a kind of trouble
};

/// Where entries live and how many bytes they may take: NVFP4_CACHE (a directory), or
/// XDG_CACHE_HOME/nvfp4, or HOME/.cache/nvfp4, or memory only; NVFP4_CACHE_SIZE (bytes, or 512M,
/// 2G).
CacheOptions cache_options_from_environment(std::function<void(const std::string&)> warn = {});

struct CacheStats {
  int64_t hits = 0;       ///< answered without compiling
  int64_t misses = 0;     ///< compiled
  int64_t set_aside = 0;  ///< entries found bad
};

/// Thread-safe, and safe between processes that share the directory.
class CubinCache {
 public:
  explicit CubinCache(CacheOptions options);
  ~CubinCache();
  CubinCache(const CubinCache&) = delete;
  CubinCache& operator=(const CubinCache&) = delete;

  /// The stored compilation of (compiler, source, arch), or a new one that is then stored. While
  /// one process compiles, others wait a minute at most for its result. Failed compilations are not
  /// kept.
  Compilation get_or_compile(const Compiler& compiler, std::string_view source, Arch arch);

  /// Only what is stored.
  std::optional<Compilation> find(const std::string& key);

  /// Best effort: what a full or vanished disk does not take is kept in memory.
  void store(const std::string& key, std::string_view source, const Compilation& compilation);

  /// For a caller whose driver refuses a stored cubin: the next request compiles anew.
  void set_aside(const std::string& key);

  /// Empty when this cache lives in memory only.
  std::filesystem::path directory() const;
  CacheStats stats() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// All that decides the machine code of a kernel.
struct KeyFields {
  std::string_view source;
  std::string_view templates;  ///< their digest
  Arch arch;
  std::span<const std::string> options;
  std::string_view compiler;  ///< its identity
};

/// 64 hex digits that differ when any field does.
std::string cache_key(const KeyFields& fields);

/// The key under which get_or_compile keeps a result.
std::string cache_key(const Compiler& compiler, std::string_view source, Arch arch);

}  // namespace nvfp4
