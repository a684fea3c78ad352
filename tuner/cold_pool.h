// SPDX-License-Identifier: Apache-2.0
// Weights that no cache holds: enough distinct copies that by the time one is read again, several
// times the L2 of other weights has passed. Walking it needs no flush inside the timed region.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "generator/problem.h"
#include "runtime/cuda.h"

namespace nvfp4 {

/// Copies of `bytes` each that make at least max(4 x L2, 256 MB), and one more.
int64_t pool_copies(int64_t bytes, int64_t l2_bytes);

/// What one launch of a chain reads.
struct ColdWeights {
  CUdeviceptr weights = 0;
  CUdeviceptr expert_offsets = 0;  ///< of a grouped launch, else 0
};

class ColdPool {
 public:
  /// `copies` of the same plausible packed weights: random codes, block scales near 1.
  ColdPool(const Gpu& gpu, int64_t bytes, int64_t copies, uint64_t seed);
  /// Copies of `contents`.
  ColdPool(const Gpu& gpu, std::span<const std::byte> contents, int64_t copies);
  /// Copies of a problem's weights; all experts of a grouped one are alike.
  ColdPool(const Gpu& gpu, const Problem& problem, int64_t copies, uint64_t seed);

  int64_t copies() const { return copies_; }
  int64_t bytes() const { return bytes_; }
  CUdeviceptr copy(int64_t index) const { return buffer_.address() + index * pitch_; }

  /// Makes turns of a grouped problem's pool: launches of m tokens, each on experts of its own.
  void route(int64_t experts, int64_t m, uint64_t seed);

  /// Launches before weights come again, and what each reads.
  int64_t turns() const { return copies_ * routings_; }
  ColdWeights turn(int64_t index) const;

 private:
  ColdPool(const Gpu& gpu, std::span<const std::byte> matrix, int64_t matrices, int64_t copies,
           int64_t alignment);

  Gpu gpu_;
  int64_t bytes_;  ///< of a copy
  int64_t pitch_;
  int64_t copies_;
  int64_t routings_ = 1;
  int64_t offsets_pitch_ = 0;
  DeviceBuffer buffer_;
  std::optional<DeviceBuffer> offsets_;  ///< of all routings
};

}  // namespace nvfp4
