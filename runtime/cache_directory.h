// SPDX-License-Identifier: Apache-2.0
// A private directory of entries that are written once and read many times, shared by processes.
// What it holds is run as code, so it trusts nothing that another user could have put there: it
// works through one directory descriptor, follows no link, and checks owner and mode each time.
// Keys are hex digests, and no other text becomes a file name; files it did not name are left
// alone.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace nvfp4 {

/// The directory cannot be made, or another user could write to it.
class CacheDirectoryError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A file descriptor that closes itself.
class FileDescriptor {
 public:
  explicit FileDescriptor(int value = -1) : value_(value) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;

  int get() const { return value_; }
  explicit operator bool() const { return value_ >= 0; }

 private:
  int value_;
};

class CacheDirectory {
 public:
  /// Makes `path` with mode 0700 if it is missing. Throws CacheDirectoryError.
  explicit CacheDirectory(const std::filesystem::path& path);

  enum class ReadStatus { ok, missing, refused };
  struct ReadResult {
    ReadStatus status = ReadStatus::missing;
    std::string bytes;
    std::string reason;  ///< why an entry was refused
  };
  /// The whole entry. A link, a foreign owner, a mode that lets others write, or more than 64 MiB
  /// are refused. Reading marks the entry as used, for trim().
  ReadResult read(const std::string& key) const;

  /// All of `bytes` under `key`, durably, or nothing; replaces what was there. Returns why it
  /// failed.
  std::optional<std::string> publish(const std::string& key, std::string_view bytes) const;

  /// Takes a bad entry away, and keeps its file under another name for whoever wants to know.
  void set_aside(const std::string& key) const;

  /// Holds the lock of `key` until destroyed; the kernel drops it when the process dies. Not
  /// holding it (after `patience`, or where there are no locks) is no error: it only saves work.
  [[nodiscard]] FileDescriptor lock(std::string_view key, std::chrono::milliseconds patience) const;

  /// If entries take more than `limit` bytes, deletes those longest unused until 7/8 of it
  /// suffices; and deletes temporary files that a dead writer left.
  void trim(int64_t limit) const;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  FileDescriptor directory_;
};

}  // namespace nvfp4
