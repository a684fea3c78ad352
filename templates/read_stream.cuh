// SPDX-License-Identifier: Apache-2.0
// Reads memory and does nothing with it: the ceiling every bandwidth is held against.
#pragma once

#include "ptx.cuh"

namespace nvfp4 {

/// Reads count * 16 bytes once. `sink` is written only for one value of their XOR in 2^32, so that the
/// loads stay; four loads in flight a thread.
__device__ __forceinline__ void read_stream(const U32x4* source, u64 count, u32* sink) {
  const u64 stride = u64{gridDim.x} * blockDim.x;
  u32 seen = 0;
  u64 i = u64{blockIdx.x} * blockDim.x + threadIdx.x;
  for (; i + 3 * stride < count; i += 4 * stride) {
    U32x4 v[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = load_streaming(source + i + j * stride);
#pragma unroll
    for (int j = 0; j < 4; ++j) seen ^= v[j].x[0] ^ v[j].x[1] ^ v[j].x[2] ^ v[j].x[3];
  }
  for (; i < count; i += stride) {
    const U32x4 v = load_streaming(source + i);
    seen ^= v.x[0] ^ v.x[1] ^ v.x[2] ^ v.x[3];
  }
  if (seen == 0x12345u) *sink = seen;
}

}  // namespace nvfp4

extern "C" __global__ void __launch_bounds__(512)
nvfp4_read_stream(const nvfp4::U32x4* source, unsigned long long count, unsigned int* sink) {
  nvfp4::read_stream(source, count, sink);
}
