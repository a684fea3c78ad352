// SPDX-License-Identifier: Apache-2.0
// Device memory between two guard zones, for what kernels write: a store that misses the buffer by
// up to 4 KiB is seen, and so is an element that a kernel should have written and did not.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "runtime/cuda.h"

namespace nvfp4 {

constexpr size_t kGuardBytes = 4096;
constexpr std::byte kPoison{0xff};  ///< NaN in every type a kernel stores

class GuardedBuffer {
 public:
  GuardedBuffer(const Gpu& gpu, size_t bytes);

  CUdeviceptr address() const { return whole_.address() + kGuardBytes; }
  template <class T = void>
  T* as() const {
    return whole_.as<T>(kGuardBytes);
  }

  size_t size() const { return bytes_; }

  /// Sets every byte of the inside, in stream order.
  void fill(std::byte value, CUstream stream);
  void poison(CUstream stream) { fill(kPoison, stream); }
  /// Copies the inside, all of it, to `bytes`.
  void download(std::span<std::byte> bytes) const { whole_.download(bytes, kGuardBytes); }

  /// "before" or "behind" when a guard zone was written to; waits for the device.
  std::optional<std::string> guard_damage() const;

  /// True when the first `bytes` are zero.
  bool zero(size_t bytes) const;

 private:
  Gpu gpu_;
  DeviceBuffer whole_;
  size_t bytes_;
};

/// True when only poison lies between rows of `row_bytes` that start every `pitch` bytes.
bool poisoned_between_rows(std::span<const std::byte> bytes, size_t row_bytes, size_t pitch);

}  // namespace nvfp4
