// SPDX-License-Identifier: Apache-2.0
// A file lock in the system's temporary folder.
#include "tuner/gpu_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace nvfp4 {

GpuLock::GpuLock(const std::string& uuid) : path_(fmt::format("/tmp/nvfp4-tune-{}.lock", uuid)) {
  // Readable is enough for a lock, so that every user of the machine takes part. A file that exists
  // is opened without O_CREAT: in a sticky folder the kernel refuses that for another user's file.
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC;
  file_ = open(path_.c_str(), kFlags);
  if (file_ < 0 && errno == ENOENT) file_ = open(path_.c_str(), kFlags | O_CREAT, 0644);
}

GpuLock::~GpuLock() {
  if (file_ >= 0) close(file_);
}

bool GpuLock::try_acquire() const {
  int status = -1;
  do {
    status = flock(file_, LOCK_EX | LOCK_NB);
  } while (status != 0 && errno == EINTR);
  return status == 0;
}

// A line of /proc/locks: "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF", with the inode last in
// the name of the file.
std::string GpuLock::holder() const {
  struct stat facts = {};
  const bool known = fstat(file_, &facts) == 0;
  std::ifstream locks("/proc/locks");
  for (std::string line; known && std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, mode, access, file;
    long pid = 0;
    words >> number >> kind >> mode >> access >> pid >> file;
    const size_t colon = file.rfind(':');
    if (kind != "FLOCK" || pid <= 0 || colon == file.npos) continue;
    if (file.substr(colon + 1) == std::to_string(facts.st_ino))
      return fmt::format("process {}", pid);
  }
  return "another process";
}

}  // namespace nvfp4
