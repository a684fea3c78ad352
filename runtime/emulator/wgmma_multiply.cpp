// SPDX-License-Identifier: Apache-2.0
// One loop for three processors, chosen once: a Lanes is one AVX-512 register, two of AVX or four
// of SSE. A product of two 16-bit numbers is exact in FP32, so a fused multiply-add, where there is
// one, rounds like a product and a sum.
#include "runtime/emulator/wgmma_multiply.h"

#include <cstring>

namespace nvfp4::emulator {
namespace {

typedef float Lanes __attribute__((vector_size(64)));
typedef int32_t LaneBits __attribute__((vector_size(64)));
typedef float Four __attribute__((vector_size(16)));

[[gnu::always_inline]] inline void load(Lanes& lanes, const void* from) {
  std::memcpy(&lanes, from, sizeof lanes);
}

[[gnu::always_inline]] inline void repeat(Lanes& lanes, const float* from) {
  Four v;
  std::memcpy(&v, from, sizeof v);
  lanes = __builtin_shufflevector(v, v, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
}

// NaN results are 0x7fffffff, as on the device.
[[gnu::always_inline]] inline void store(uint32_t* to, const Lanes& sums) {
  const LaneBits is_number = sums == sums;
  const LaneBits bits = ((LaneBits)sums & is_number) | (~is_number & 0x7fffffff);
  std::memcpy(to, &bits, sizeof bits);
}

// kHalves of the two row halves at once: as many sums as the registers hold, since each is a chain
// of additions in which one waits for the other.
template <int kHalves>
[[gnu::always_inline]] inline void multiply(const LaneRows& a, const LaneColumns& b, int tiles,
                                            bool accumulate, uint32_t* const* sums) {
  for (int j = 0; j < tiles; ++j) {
    for (int first = 0; first < 2; first += kHalves) {
      Lanes sum[kHalves][2][2] = {};  // [half of the rows][column of the pair][half of the lanes]
      for (int i = 0; i < kHalves * 4 && accumulate; ++i)
        load(sum[i / 4][i / 2 % 2][i % 2], sums[j * 4 + first * 2 + i / 2] + i % 2 * 16);
      for (int k = 0; k < 16; ++k) {
        Lanes column[2];
        repeat(column[0], b.value[j][k][0]), repeat(column[1], b.value[j][k][1]);
#pragma GCC unroll 8
        for (int i = 0; i < kHalves * 2; ++i) {
          Lanes rows;
          load(rows, a.value[k][first + i / 2] + i % 2 * 16);
          sum[i / 2][0][i % 2] += rows * column[0];
          sum[i / 2][1][i % 2] += rows * column[1];
        }
      }
      for (int i = 0; i < kHalves * 4; ++i)
        store(sums[j * 4 + first * 2 + i / 2] + i % 2 * 16, sum[i / 4][i / 2 % 2][i % 2]);
    }
  }
}

using Multiply = void (*)(const LaneRows&, const LaneColumns&, int, bool, uint32_t* const*);

[[gnu::target("avx512f")]] void multiply_avx512(const LaneRows& a, const LaneColumns& b, int tiles,
                                                bool accumulate, uint32_t* const* sums) {
  multiply<2>(a, b, tiles, accumulate, sums);
}
[[gnu::target("avx2")]] void multiply_avx2(const LaneRows& a, const LaneColumns& b, int tiles,
                                           bool accumulate, uint32_t* const* sums) {
  multiply<1>(a, b, tiles, accumulate, sums);
}
void multiply_sse(const LaneRows& a, const LaneColumns& b, int tiles, bool accumulate,
                  uint32_t* const* sums) {
  multiply<1>(a, b, tiles, accumulate, sums);
}

const Multiply kMultiply = [] {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return &multiply_avx512;
  return __builtin_cpu_supports("avx2") ? &multiply_avx2 : &multiply_sse;
}();

}  // namespace

void multiply_lanes(const LaneRows& a, const LaneColumns& b, int tiles, bool accumulate,
                    uint32_t* const* sums) {
  kMultiply(a, b, tiles, accumulate, sums);
}

}  // namespace nvfp4::emulator
