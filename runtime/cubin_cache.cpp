// SPDX-License-Identifier: Apache-2.0
// Ties keys, entries and the directory together. Every trouble with the disk has the same answer:
// say so once, and go on with what memory holds or the compiler makes.
#include "runtime/cubin_cache.h"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "generator/digest.h"
#include "generator/template_bundle.h"
#include "runtime/cache_directory.h"
#include "runtime/cache_entry.h"

namespace nvfp4 {
namespace {

// As long as a compilation may take before its worker is killed.
constexpr std::chrono::milliseconds kPatience = std::chrono::minutes(1);

// What memory holds when the disk takes nothing: about 100 MB of kernels.
constexpr size_t kMemoryEntries = 512;

/// "512M" as bytes; K, M and G are powers of 1024. Empty when `text` is no such size.
std::optional<int64_t> parse_size(std::string_view text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const std::string_view unit(stop, static_cast<size_t>(end - stop));
  const int shift = unit.empty() ? 0 : unit == "K" ? 10 : unit == "M" ? 20 : unit == "G" ? 30 : -1;
  if (error != std::errc() || value < 0 || shift < 0 || value > INT64_MAX >> shift) return {};
  return value << shift;
}

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

}  // namespace

CacheOptions cache_options_from_environment(std::function<void(const std::string&)> warn) {
  CacheOptions options;
  options.warn = std::move(warn);
  const std::filesystem::path xdg = environment("XDG_CACHE_HOME");
  const std::filesystem::path home = environment("HOME");
  if (const std::string_view chosen = environment("NVFP4_CACHE"); !chosen.empty()) {
    options.directory = chosen;
  } else if (xdg.is_absolute()) {  // the XDG specification: relative paths are to be ignored
    options.directory = xdg / "nvfp4";
  } else if (home.is_absolute()) {
    options.directory = home / ".cache" / "nvfp4";
  }
  if (const std::string_view text = environment("NVFP4_CACHE_SIZE"); !text.empty()) {
    if (const auto bytes = parse_size(text)) {
      options.size_limit = *bytes;
    } else if (options.warn) {
      options.warn(
          fmt::format("NVFP4_CACHE_SIZE '{}' is no size such as 512M or 2G: using {} bytes", text,
                      options.size_limit));
    }
  }
  return options;
}

std::string cache_key(const KeyFields& fields) {
  Digest digest("cubin cache");
  digest.field("format", int64_t{kCacheFormat})
      .field("source", fields.source)
      .field("templates", fields.templates)
      .field("arch", sm_name(fields.arch))
      .field("compiler", fields.compiler);
  for (const std::string& option : fields.options) digest.field("option", option);
  return digest.hex();
}

std::string cache_key(const Compiler& compiler, std::string_view source, Arch arch) {
  return cache_key(KeyFields{.source = source,
                             .templates = template_digest(),
                             .arch = arch,
                             .options = compiler.options(arch),
                             .compiler = compiler.identity()});
}

struct CubinCache::State {
  enum class Trouble { directory, bad_entry, write };

  CacheOptions options;
  std::optional<CacheDirectory> disk;
  mutable std::mutex mutex;                   ///< guards all that follows
  std::map<std::string, Compilation> memory;  ///< what the disk did not take
  int64_t written_since_trim = 0;
  bool trimmed = false;
  std::set<Trouble> warned;
  CacheStats stats;

  void warn(Trouble trouble, const std::string& message) {
    {
      const std::lock_guard guard(mutex);
      if (!warned.insert(trouble).second) return;
    }
    if (options.warn) options.warn(message);
  }

  /// Listing the directory costs about a millisecond per thousand entries, so it is done once at
  /// first and then for every 1/256 of the limit written: sixteen processes overshoot it by 6 % at
  /// most.
  bool time_to_trim(int64_t bytes) {
    const std::lock_guard guard(mutex);
    written_since_trim += bytes;
    if (trimmed && written_since_trim < options.size_limit / 256) return false;
    trimmed = true;
    written_since_trim = 0;
    return true;
  }

  void remember(const std::string& key, const Compilation& compilation) {
    const std::lock_guard guard(mutex);
    if (memory.size() >= kMemoryEntries) memory.clear();
    memory.insert_or_assign(key, compilation);
  }
};

CubinCache::CubinCache(CacheOptions options) : state_(std::make_unique<State>()) {
  state_->options = std::move(options);
  if (state_->options.directory.empty() || state_->options.size_limit <= 0) return;
  try {
    state_->disk.emplace(state_->options.directory);
  } catch (const CacheDirectoryError& error) {
    state_->warn(State::Trouble::directory,
                 fmt::format("{}: compiled kernels are kept in memory only", error.what()));
  }
}

CubinCache::~CubinCache() = default;

Compilation CubinCache::get_or_compile(const Compiler& compiler, std::string_view source,
                                       Arch arch) {
  const std::string key = cache_key(compiler, source, arch);
  if (auto found = find(key)) return *std::move(found);
  FileDescriptor lock;
  if (state_->disk) {
    lock = state_->disk->lock(key, kPatience);
    if (auto found = find(key)) return *std::move(found);  // another process may have been first
  }
  {
    const std::lock_guard guard(state_->mutex);
    ++state_->stats.misses;
  }
  Compilation compilation = compiler.compile(source, arch);
  if (compilation.ok) store(key, source, compilation);
  return compilation;
}

std::optional<Compilation> CubinCache::find(const std::string& key) {
  {
    const std::lock_guard guard(state_->mutex);
    if (const auto at = state_->memory.find(key); at != state_->memory.end()) {
      ++state_->stats.hits;
      return at->second;
    }
  }
  if (!state_->disk) return std::nullopt;
  const CacheDirectory::ReadResult file = state_->disk->read(key);
  if (file.status == CacheDirectory::ReadStatus::missing) return std::nullopt;
  std::string reason = file.reason;
  if (file.status == CacheDirectory::ReadStatus::ok) {
    if (auto compilation = decode_entry(file.bytes, key)) {
      const std::lock_guard guard(state_->mutex);
      ++state_->stats.hits;
      return compilation;
    }
    reason = "damaged, or of another key or format";
  }
  set_aside(key);
  state_->warn(State::Trouble::bad_entry, fmt::format("cache entry {}/{}.entry set aside: {}",
                                                      directory().string(), key, reason));
  return std::nullopt;
}

void CubinCache::store(const std::string& key, std::string_view source,
                       const Compilation& compilation) {
  if (!state_->disk) {
    state_->remember(key, compilation);
    return;
  }
  const std::string bytes = encode_entry(key, source, compilation);
  if (const auto failure = state_->disk->publish(key, bytes)) {
    state_->remember(key, compilation);
    state_->warn(State::Trouble::write, fmt::format("cannot store compiled kernels in {}: {}",
                                                    directory().string(), *failure));
    return;
  }
  if (state_->time_to_trim(static_cast<int64_t>(bytes.size()))) {
    state_->disk->trim(state_->options.size_limit);
  }
}

void CubinCache::set_aside(const std::string& key) {
  {
    const std::lock_guard guard(state_->mutex);
    ++state_->stats.set_aside;
    state_->memory.erase(key);
  }
  if (state_->disk) state_->disk->set_aside(key);
}

std::filesystem::path CubinCache::directory() const {
  return state_->disk ? state_->disk->path() : std::filesystem::path();
}

CacheStats CubinCache::stats() const {
  const std::lock_guard guard(state_->mutex);
  return state_->stats;
}

}  // namespace nvfp4
