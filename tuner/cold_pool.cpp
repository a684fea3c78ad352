// SPDX-License-Identifier: Apache-2.0
// The pool of weight copies.
#include "tuner/cold_pool.h"

#include <algorithm>
#include <random>
#include <vector>

#include "templates/packed_layout.h"
#include "tuner/routing.h"

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
    : ColdPool(gpu, contents, 1, copies, kAlignment) {}

// Experts follow one another without a gap.
ColdPool::ColdPool(const Gpu& gpu, const Problem& problem, int64_t copies, uint64_t seed)
    : ColdPool(gpu,
               std::as_bytes(std::span<const uint8_t>(
                   plausible_weights(packed_bytes(problem.n, problem.k), seed))),
               std::max<int64_t>(problem.experts, 1), copies,
               problem.kind == ProblemKind::grouped ? 1 : kAlignment) {}

ColdPool::ColdPool(const Gpu& gpu, std::span<const std::byte> matrix, int64_t matrices,
                   int64_t copies, int64_t alignment)
    : gpu_(gpu),
      bytes_(static_cast<int64_t>(matrix.size()) * matrices),
      pitch_((bytes_ + alignment - 1) / alignment * alignment),
      copies_(copies),
      buffer_(gpu, pitch_ * copies_) {
  buffer_.upload(matrix);
  const auto size = static_cast<int64_t>(matrix.size());
  for (int64_t i = 1; i < copies_ * matrices; ++i) {
    const CUdeviceptr to = copy(i / matrices) + i % matrices * size;
    gpu.check(gpu.driver().memcpy_d_to_d(to, copy(0), matrix.size()), "cuMemcpyDtoD");
  }
}

void ColdPool::route(int64_t experts, int64_t m, uint64_t seed) {
  std::vector<int32_t> all;
  const auto routings = timed_routings(experts, m, seed);
  for (const std::vector<Share>& shares : routings) {
    const std::vector<int32_t> offsets = offsets_of(shares, experts);
    all.insert(all.end(), offsets.begin(), offsets.end());
  }
  routings_ = static_cast<int64_t>(routings.size());
  offsets_pitch_ = (experts + 1) * 4;
  offsets_.emplace(gpu_, all.size() * 4);
  offsets_->upload(std::as_bytes(std::span<const int32_t>(all)));
}

// One copy's experts are all dealt before the next copy's.
ColdWeights ColdPool::turn(int64_t index) const {
  ColdWeights weights{.weights = copy(index / routings_ % copies_)};
  if (offsets_) {
    weights.expert_offsets = offsets_->address() + index % routings_ * offsets_pitch_;
  }
  return weights;
}

}  // namespace nvfp4
