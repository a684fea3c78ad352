// SPDX-License-Identifier: Apache-2.0
// The pool of weight copies.
#include "tuner/cold_pool.h"

#include <algorithm>
#include <random>
#include <vector>

#include "templates/packed_layout.h"

namespace nvfp4 {
namespace {

constexpr int64_t kLeastPoolBytes = int64_t{256} << 20;
constexpr int64_t kAlignment = 4096;

std::vector<uint8_t> plausible_weights(int64_t bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint8_t> weights(bytes);
  for (int64_t i = 0; i < bytes; ++i) {
    const uint64_t bits = random();
    const bool scale = i % kTileBytes >= kTileScaleOffset;
    // E5M3 with exponent bits 20..23: scales of 1/4 to 4.
    weights[i] = static_cast<uint8_t>(scale ? 0xa0 | (bits & 0x1f) : bits);
  }
  return weights;
}

}  // namespace

int64_t pool_copies(int64_t bytes, int64_t l2_bytes) {
  const int64_t wanted = std::max(4 * l2_bytes, kLeastPoolBytes);
  return (wanted + bytes - 1) / bytes + 1;
}

ColdPool::ColdPool(const Gpu& gpu, int64_t bytes, int64_t copies, uint64_t seed)
    : ColdPool(gpu, std::as_bytes(std::span<const uint8_t>(plausible_weights(bytes, seed))),
               copies) {}

ColdPool::ColdPool(const Gpu& gpu, std::span<const std::byte> contents, int64_t copies)
    : bytes_(static_cast<int64_t>(contents.size())),
      pitch_((bytes_ + kAlignment - 1) / kAlignment * kAlignment),
      copies_(copies),
      buffer_(gpu, pitch_ * copies_) {
  buffer_.upload(contents);
  for (int64_t i = 1; i < copies_; ++i) {
    gpu.check(gpu.driver().memcpy_d_to_d(copy(i), copy(0), contents.size()), "cuMemcpyDtoD");
  }
}

}  // namespace nvfp4
