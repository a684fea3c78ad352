// SPDX-License-Identifier: Apache-2.0
// POSIX files with care. A file appears under its name by one rename after it is whole on disk, so
// a reader sees all of one writer's bytes or none, and the last writer wins.
#include "runtime/cache_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxFileBytes = 64 << 20;
constexpr char kLockFile[] = "nvfp4.lock";
constexpr std::string_view kTemporaryPrefix = ".nvfp4-";
constexpr std::string_view kSuffix = ".entry";
constexpr std::string_view kBadSuffix = ".bad";
constexpr time_t kAbandonedSeconds = 3600;  // no writer holds a temporary file that long

std::string error_text(int code) { return std::generic_category().message(code); }

/// Why files under `status` could be changed by somebody else; empty when they cannot.
std::string foreign_hands(const struct stat& status) {
  if (status.st_uid != geteuid()) {
    return fmt::format("owned by user {}, not by user {}", status.st_uid, geteuid());
  }
  if (status.st_mode & (S_IWGRP | S_IWOTH)) {
    return fmt::format("mode {:o} lets others write", status.st_mode & 07777);
  }
  return {};
}

/// Refuses a path of which some parent lets anyone rename the next folder away.
void check_parents(const fs::path& path) {
  for (fs::path at = path.parent_path();; at = at.parent_path()) {
    struct stat status;
    if (stat(at.c_str(), &status) == 0 && (status.st_mode & S_IWOTH) &&
        !(status.st_mode & S_ISVTX)) {
      throw CacheDirectoryError(fmt::format("{} is writable by everyone", at.string()));
    }
    if (at == at.parent_path()) return;
  }
}

std::string file_name(std::string_view key) { return fmt::format("{}{}", key, kSuffix); }

/// A file this class named: an entry, or one that was set aside.
bool is_entry(std::string_view name) {
  if (name.ends_with(kBadSuffix)) name.remove_suffix(kBadSuffix.size());
  if (!name.ends_with(kSuffix)) return false;
  name.remove_suffix(kSuffix.size());
  return !name.empty() && name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

bool read_all(int file, std::string& bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::read(file, bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    done += static_cast<size_t>(count);
  }
  return true;
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (value_ >= 0) ::close(value_);
}

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept
    : value_(std::exchange(other.value_, -1)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(value_, other.value_);
  return *this;
}

CacheDirectory::CacheDirectory(const fs::path& path) {
  std::error_code error;
  path_ = fs::absolute(path, error).lexically_normal();
  if (!path_.has_filename()) path_ = path_.parent_path();
  fs::create_directories(path_.parent_path(), error);
  if (mkdir(path_.c_str(), 0700) != 0 && errno != EEXIST) {
    throw CacheDirectoryError(
        fmt::format("cannot make cache directory {}: {}", path_.string(), error_text(errno)));
  }
  check_parents(path_);
  directory_ =
      FileDescriptor(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat status;
  if (!directory_ || fstat(directory_.get(), &status) != 0) {
    throw CacheDirectoryError(
        fmt::format("cannot open cache directory {}: {}", path_.string(), error_text(errno)));
  }
  if (const std::string reason = foreign_hands(status); !reason.empty()) {
    throw CacheDirectoryError(fmt::format("cache directory {} is {}", path_.string(), reason));
  }
  if (faccessat(directory_.get(), ".", W_OK | X_OK, AT_EACCESS) != 0) {
    throw CacheDirectoryError(
        fmt::format("cannot write to cache directory {}: {}", path_.string(), error_text(errno)));
  }
}

CacheDirectory::ReadResult CacheDirectory::read(const std::string& key) const {
  const auto refused = [](std::string reason) {
    return ReadResult{ReadStatus::refused, {}, std::move(reason)};
  };
  // O_NONBLOCK: a FIFO in an entry's place must not hold the reader.
  const FileDescriptor file(openat(directory_.get(), file_name(key).c_str(),
                                   O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file) {
    if (errno == ENOENT) return {};
    return refused(errno == ELOOP ? "a symbolic link" : error_text(errno));
  }
  struct stat status;
  if (fstat(file.get(), &status) != 0) return refused(error_text(errno));
  if (!S_ISREG(status.st_mode)) return refused("no regular file");
  if (std::string reason = foreign_hands(status); !reason.empty()) return refused(reason);
  if (status.st_size > kMaxFileBytes) {
    return refused(fmt::format("{} bytes long, more than {}", status.st_size, kMaxFileBytes));
  }
  ReadResult result{ReadStatus::ok, std::string(static_cast<size_t>(status.st_size), '\0'), {}};
  if (!read_all(file.get(), result.bytes)) return refused("shorter than its size");
  futimens(file.get(), nullptr);  // the time of use; access times are often switched off
  return result;
}

std::optional<std::string> CacheDirectory::publish(const std::string& key,
                                                   std::string_view bytes) const {
  uint64_t random = 0;
  if (getrandom(&random, sizeof(random), 0) != sizeof(random)) return error_text(errno);
  const std::string temporary = fmt::format("{}{:016x}", kTemporaryPrefix, random);
  const FileDescriptor file(openat(directory_.get(), temporary.c_str(),
                                   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return error_text(errno);
  const bool published =
      write_all(file.get(), bytes) && fchmod(file.get(), 0400) == 0 && fsync(file.get()) == 0 &&
      renameat(directory_.get(), temporary.c_str(), directory_.get(), file_name(key).c_str()) == 0;
  if (!published) {
    const int code = errno;
    unlinkat(directory_.get(), temporary.c_str(), 0);
    return error_text(code);
  }
  fsync(directory_.get());  // best effort: a lost rename is a miss
  return std::nullopt;
}

void CacheDirectory::set_aside(const std::string& key) const {
  const std::string name = file_name(key);
  const std::string bad = fmt::format("{}{}", name, kBadSuffix);
  if (renameat(directory_.get(), name.c_str(), directory_.get(), bad.c_str()) != 0) {
    unlinkat(directory_.get(), name.c_str(), 0);
  }
}

FileDescriptor CacheDirectory::lock(std::string_view key,
                                    std::chrono::milliseconds patience) const {
  // One byte of one file a key. The file stays empty and is never deleted, which is how lock files
  // go wrong; two keys that met on one byte would only wait for each other.
  FileDescriptor file(
      openat(directory_.get(), kLockFile, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return FileDescriptor();
  struct flock range = {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(std::hash<std::string_view>{}(key) >> 2);
  range.l_len = 1;
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (fcntl(file.get(), F_OFD_SETLK, &range) != 0) {
    const bool held = errno == EAGAIN || errno == EACCES || errno == EINTR;
    if (!held || std::chrono::steady_clock::now() >= deadline) return FileDescriptor();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return file;
}

void CacheDirectory::trim(int64_t limit) const {
  struct File {
    std::string name;
    int64_t bytes;
    timespec used;
  };
  const int copy = openat(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(copy < 0 ? nullptr : fdopendir(copy), closedir);
  if (!listing) return;
  std::vector<File> files;
  int64_t total = 0;
  const time_t now = std::time(nullptr);
  while (const dirent* entry = readdir(listing.get())) {
    const std::string name = entry->d_name;
    struct stat status;
    const bool temporary = name.starts_with(kTemporaryPrefix);
    if ((!temporary && !is_entry(name)) ||
        fstatat(directory_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      continue;
    }
    if (temporary) {
      if (now - status.st_mtime > kAbandonedSeconds) unlinkat(directory_.get(), name.c_str(), 0);
      continue;
    }
    files.push_back({name, status.st_size, status.st_mtim});
    total += status.st_size;
  }
  if (total <= limit) return;
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) {
    return std::pair(a.used.tv_sec, a.used.tv_nsec) < std::pair(b.used.tv_sec, b.used.tv_nsec);
  });
  for (const File& file : files) {
    if (total <= limit / 8 * 7) return;
    if (unlinkat(directory_.get(), file.name.c_str(), 0) == 0) total -= file.bytes;
  }
}

}  // namespace nvfp4
