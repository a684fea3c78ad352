// SPDX-License-Identifier: Apache-2.0
// E2M1 codes times block scales to MMA A fragments, in registers. packed_layout.h draws the bits; the
// positions are chosen so that three of four code pairs need one multiply by a power of two (which
// leaves the shifter free) and one AND. The product is w * s * 2^-7, exact in bf16 and in fp16.
//
//   bf16: codes land as w * 2^-126, the scale as s * 2^119    9 integer operations per 8 weights
//   fp16: codes land as w * 2^-14,  the scale as s * 2^7     about 12 of them
#pragma once

#include "kernel_config.h"
#include "ptx.cuh"

namespace nvfp4 {

/// The scales of rows g (low half) and g + 8 (high half) for k step kStep (0..3), as the multiplier
/// wants them. `bytes` holds steps 0, 1 or 2, 3: {even, odd} of row g, then {even, odd} of row g + 8.
template <Activation kAct>
__device__ __forceinline__ u32 scale_pair(u32 bytes, int step) {
  const u32 pair = permute_bytes(bytes, step % 2 ? 0x4341u : 0x4240u);
  if constexpr (kAct == Activation::bf16) return pair * 16u + 0x70007000u;
  return pair * 128u;
}

/// The A fragment of one 16-row unit and one k16 step from its word of codes and its scale pair.
template <Activation kAct>
__device__ __forceinline__ void decode(u32 codes, u32 scales, u32 (&a)[4]) {
  const u32 low = duplicate_low(scales);
  const u32 high = duplicate_high(scales);
  if constexpr (kAct == Activation::bf16) {
    constexpr u32 kMask = 0x81C081C0u;  // sign, e1, e0, m at bf16 bits 15, 8, 7, 6
    const u32 slot3 = ((codes >> 6) & 0x01800180u) | ((codes >> 5) & 0x00400040u);
    a[0] = mul_bf16x2(codes & kMask, low);
    a[1] = mul_bf16x2((codes * 8u) & kMask, high);
    a[2] = mul_bf16x2((codes * 64u) & kMask, low);
    a[3] = mul_bf16x2(slot3 | ((codes * 32u) & 0x80008000u), high);
  } else {
    constexpr u32 kSign = 0x80008000u;
    constexpr u32 kMagnitude = 0x0E000E00u;  // e1, e0, m at fp16 bits 11, 10, 9
    const u32 slot3 = ((codes >> 3) & 0x0C000C00u) | ((codes >> 2) & 0x02000200u);
    a[0] = mul_f16x2(((codes * 8u) & kMagnitude) | (codes & kSign), low);
    a[1] = mul_f16x2(((codes * 64u) & kMagnitude) | ((codes * 8u) & kSign), high);
    a[2] = mul_f16x2(((codes * 512u) & kMagnitude) | ((codes * 64u) & kSign), low);
    a[3] = mul_f16x2(slot3 | ((codes * 32u) & kSign), high);
  }
}

}  // namespace nvfp4
