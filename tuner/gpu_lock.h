// SPDX-License-Identifier: Apache-2.0
// One tuner at a time measures on one physical card: two would each see half of the memory's
// bandwidth, and one's gate would disturb the other's clock. The lock is advisory, named by the
// card's UUID, shared by all users of the machine, and freed by the system when its holder dies.
#pragma once

#include <string>

namespace nvfp4 {

class GpuLock {
 public:
  /// Opens the lock of the card and does not take it yet.
  explicit GpuLock(const std::string& uuid);
  ~GpuLock();
  GpuLock(const GpuLock&) = delete;
  GpuLock& operator=(const GpuLock&) = delete;

  /// False where no lock file can be made: nothing is exclusive then.
  bool usable() const { return file_ >= 0; }
  const std::string& path() const { return path_; }

  /// Takes the lock; false while another holds it.
  bool try_acquire() const;

  /// "process 1234", or "another process" where the system does not tell.
  std::string holder() const;

 private:
  std::string path_;
  int file_ = -1;
};

}  // namespace nvfp4
