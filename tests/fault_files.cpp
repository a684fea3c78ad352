// SPDX-License-Identifier: Apache-2.0
// A disk that misbehaves, for LD_PRELOAD: FAULT_STATFS=6969 makes every file system one of that
// magic number, FAULT_WRITES=N lets databases grow N times and is full then.
#include <dlfcn.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

template <class Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

/// True when this write finds the disk full. What a file has already can be written again.
bool is_full(int file, off_t end) {
  static const char* const limit = std::getenv("FAULT_WRITES");
  if (limit == nullptr) return false;
  char link[64];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  char path[4096] = {};
  if (readlink(link, path, sizeof path - 1) < 0 || std::strstr(path, ".db") == nullptr) {
    return false;
  }
  struct stat info {};
  if (fstat(file, &info) == 0 && end <= info.st_size) return false;
  static std::atomic<int> writes = 0;
  return ++writes > std::atoi(limit);
}

}  // namespace

extern "C" {

[[gnu::visibility("default")]] int statfs(const char* path, struct statfs* info) {
  const int result = next<int (*)(const char*, struct statfs*)>("statfs")(path, info);
  const char* const magic = std::getenv("FAULT_STATFS");
  if (result == 0 && magic != nullptr) info->f_type = std::strtol(magic, nullptr, 16);
  return result;
}

[[gnu::visibility("default")]] ssize_t write(int file, const void* bytes, size_t size) {
  const auto end = lseek(file, 0, SEEK_CUR) + static_cast<off_t>(size);
  if (is_full(file, end)) return errno = ENOSPC, -1;
  return next<ssize_t (*)(int, const void*, size_t)>("write")(file, bytes, size);
}

[[gnu::visibility("default")]] ssize_t pwrite(int file, const void* bytes, size_t size,
                                              off_t offset) {
  if (is_full(file, offset + static_cast<off_t>(size))) return errno = ENOSPC, -1;
  return next<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite")(file, bytes, size, offset);
}

[[gnu::visibility("default")]] ssize_t pwrite64(int file, const void* bytes, size_t size,
                                                off64_t offset) {
  if (is_full(file, offset + static_cast<off_t>(size))) return errno = ENOSPC, -1;
  return next<ssize_t (*)(int, const void*, size_t, off64_t)>("pwrite64")(file, bytes, size,
                                                                          offset);
}
}
