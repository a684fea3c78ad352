// SPDX-License-Identifier: Apache-2.0
// Weights that no cache holds: enough distinct copies that by the time one is read again, several
// times the L2 of other weights has passed. Walking it needs no flush inside the timed region.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/cuda.h"

namespace nvfp4 {

/// Copies of `bytes` each that make at least max(4 x L2, 256 MB), and one more.
int64_t pool_copies(int64_t bytes, int64_t l2_bytes);

class ColdPool {
 public:
  /// `copies` of the same plausible packed weights: random codes, block scales near 1.
  ColdPool(const Gpu& gpu, int64_t bytes, int64_t copies, uint64_t seed);
  /// Copies of `contents`.
  ColdPool(const Gpu& gpu, std::span<const std::byte> contents, int64_t copies);

  int64_t copies() const { return copies_; }
  int64_t bytes() const { return bytes_; }
  CUdeviceptr copy(int64_t index) const { return buffer_.address() + index * pitch_; }

 private:
  int64_t bytes_;
  int64_t pitch_;
  int64_t copies_;
  DeviceBuffer buffer_;
};

}  // namespace nvfp4
