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

[[gnu::always_inline]] inline void multiply(const LaneRows& a, const LaneColumns& b, int tiles,
                                            bool accumulate, uint32_t* const* sums) {
  for (int j = 0; j < tiles; ++j) {
    for (int h = 0; h < 2; ++h) {
      uint32_t* const even = sums[j * 4 + h * 2];
      uint32_t* const odd = sums[j * 4 + h * 2 + 1];
      Lanes low_even{}, high_even{}, low_odd{}, high_odd{};
      if (accumulate) {
        load(low_even, even), load(high_even, even + 16);
        load(low_odd, odd), load(high_odd, odd + 16);
      }
      for (int k = 0; k < 16; ++k) {
        Lanes low, high, b_even, b_odd;
        load(low, a.value[k][h]), load(high, a.value[k][h] + 16);
        repeat(b_even, b.value[j][k][0]), repeat(b_odd, b.value[j][k][1]);
        low_even += low * b_even;
        high_even += high * b_even;
        low_odd += low * b_odd;
        high_odd += high * b_odd;
      }
      store(even, low_even);
      store(even + 16, high_even);
      store(odd, low_odd);
      store(odd + 16, high_odd);
    }
  }
}

using Multiply = void (*)(const LaneRows&, const LaneColumns&, int, bool, uint32_t* const*);

[[gnu::target("avx512f")]] void multiply_avx512(const LaneRows& a, const LaneColumns& b, int tiles,
                                                bool accumulate, uint32_t* const* sums) {
  multiply(a, b, tiles, accumulate, sums);
}
[[gnu::target("avx2")]] void multiply_avx2(const LaneRows& a, const LaneColumns& b, int tiles,
                                           bool accumulate, uint32_t* const* sums) {
  multiply(a, b, tiles, accumulate, sums);
}
void multiply_sse(const LaneRows& a, const LaneColumns& b, int tiles, bool accumulate,
                  uint32_t* const* sums) {
  multiply(a, b, tiles, accumulate, sums);
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
