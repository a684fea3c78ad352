// SPDX-License-Identifier: Apache-2.0
// A file lock in the system's temporary folder, named by the card's UUID.
#include "tuner/gpu_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace nvfp4 {

GpuLock::GpuLock(const Gpu& gpu) {
  if (gpu.emulated()) return;
  const std::string path = fmt::format("/tmp/nvfp4-tune-{}.lock", gpu.uuid());
  // Readable is enough for a lock, so that every user of the machine takes part.
  file_ = open(path.c_str(), O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (file_ < 0) return;
  while (flock(file_, LOCK_EX) != 0 && errno == EINTR) {
  }
}

GpuLock::~GpuLock() {
  if (file_ >= 0) close(file_);
}

}  // namespace nvfp4
