// SPDX-License-Identifier: Apache-2.0
// Every PTX instruction the kernels need by name, one function each. The rest of the templates is
// plain C++; what the emulated device must know begins here.
#pragma once

namespace nvfp4 {

using u32 = unsigned int;
using u64 = unsigned long long;

struct alignas(16) U32x4 { u32 x[4]; };
struct alignas(8) U32x2 { u32 x[2]; };
struct alignas(16) F32x4 { float x[4]; };

/// Address of a shared-memory object in the shared window, as cp.async and ldmatrix want it.
__device__ __forceinline__ u32 smem_address(const void* pointer) {
  return static_cast<u32>(__cvta_generic_to_shared(pointer));
}

/// Starts a 16-byte copy global -> shared that bypasses L1 (.cg): weights are read once.
__device__ __forceinline__ void cp_async_16(u32 shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(shared), "l"(global) : "memory");
}

/// The same, but writes zeros and reads nothing when `valid` is false.
__device__ __forceinline__ void cp_async_16_or_zero(u32 shared, const void* global, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared), "l"(global), "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}

/// Waits until at most kPending of this thread's latest groups are in flight.
template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

__device__ __forceinline__ void warp_sync() { asm volatile("bar.warp.sync 0xffffffff;\n" ::: "memory"); }

__device__ __forceinline__ void cta_sync() { asm volatile("bar.sync 0;\n" ::: "memory"); }

/// Barrier `id` (1..15) among `threads` threads of the CTA.
__device__ __forceinline__ void named_barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}

/// Four 8x8 matrices of 16-bit elements; lane l passes the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void ldmatrix_x4(u32 (&r)[4], u32 shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared)
               : "memory");
}

/// d += a x b, m16n8k16, FP32 accumulation.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ void mma_fp16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Packed bf16 multiply. mul.bf16x2 needs sm_90; before it, an fma with -0 keeps the sign of zeros.
__device__ __forceinline__ u32 mul_bf16x2(u32 a, u32 b) {
  u32 d;
#if __CUDA_ARCH__ >= 900
  asm("mul.rn.bf16x2 %0, %1, %2;\n" : "=r"(d) : "r"(a), "r"(b));
#else
  asm("fma.rn.bf16x2 %0, %1, %2, %3;\n" : "=r"(d) : "r"(a), "r"(b), "r"(0x80008000u));
#endif
  return d;
}

__device__ __forceinline__ u32 mul_f16x2(u32 a, u32 b) {
  u32 d;
  asm("mul.rn.f16x2 %0, %1, %2;\n" : "=r"(d) : "r"(a), "r"(b));
  return d;
}

/// Both halves of the result are the low (high) half of x. The multiplier reads either half in place,
/// so these cost nothing where the result feeds mul_*x2.
__device__ __forceinline__ u32 duplicate_low(u32 x) {
  u32 d;
  asm("{.reg .b16 lo, hi; mov.b32 {lo, hi}, %1; mov.b32 %0, {lo, lo};}\n" : "=r"(d) : "r"(x));
  return d;
}
__device__ __forceinline__ u32 duplicate_high(u32 x) {
  u32 d;
  asm("{.reg .b16 lo, hi; mov.b32 {lo, hi}, %1; mov.b32 %0, {hi, hi};}\n" : "=r"(d) : "r"(x));
  return d;
}

/// Bytes of {a} picked by the nibbles of `selector`; nibble 4 gives zero (the second operand).
__device__ __forceinline__ u32 permute_bytes(u32 a, u32 selector) {
  u32 d;
  asm("prmt.b32 %0, %1, 0, %2;\n" : "=r"(d) : "r"(a), "r"(selector));
  return d;
}

/// Two floats rounded to nearest even, `low` in the low half. FP16 overflows to infinity.
__device__ __forceinline__ u32 pack_bf16x2(float low, float high) {
  u32 d;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(d) : "f"(high), "f"(low));
  return d;
}
__device__ __forceinline__ u32 pack_f16x2(float low, float high) {
  u32 d;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;\n" : "=r"(d) : "f"(high), "f"(low));
  return d;
}
__device__ __forceinline__ float f16_to_float(unsigned short h) {
  float d;
  asm("cvt.f32.f16 %0, %1;\n" : "=f"(d) : "h"(h));
  return d;
}

/// A load that is not worth a place in the caches.
__device__ __forceinline__ U32x4 load_streaming(const U32x4* pointer) {
  U32x4 v;
  asm volatile("ld.global.cs.v4.u32 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(v.x[0]), "=r"(v.x[1]), "=r"(v.x[2]), "=r"(v.x[3])
               : "l"(pointer));
  return v;
}

/// Partial sums skip L1, which is not coherent between SMs.
__device__ __forceinline__ F32x4 load_l2(const float* pointer) {
  F32x4 v;
  asm volatile("ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4];\n"
               : "=f"(v.x[0]), "=f"(v.x[1]), "=f"(v.x[2]), "=f"(v.x[3])
               : "l"(pointer)
               : "memory");
  return v;
}
__device__ __forceinline__ void store_l2(float* pointer, const F32x4& v) {
  asm volatile("st.global.cg.v4.f32 [%0], {%1, %2, %3, %4};\n" ::"l"(pointer), "f"(v.x[0]),
               "f"(v.x[1]), "f"(v.x[2]), "f"(v.x[3])
               : "memory");
}

__device__ __forceinline__ void fence_gpu() { asm volatile("fence.acq_rel.gpu;\n" ::: "memory"); }

__device__ __forceinline__ u32 atomic_add(u32* counter, u32 value) {
  u32 old;
  asm volatile("atom.global.add.u32 %0, [%1], %2;\n" : "=r"(old) : "l"(counter), "r"(value) : "memory");
  return old;
}

/// Lets the next kernel of the stream start; waits until the previous one has ended and its writes are
/// visible. Both are no-ops unless the launch carried the PDL attribute.
__device__ __forceinline__ void launch_dependents() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory");
#endif
}
__device__ __forceinline__ void wait_for_predecessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\n" ::: "memory");
#endif
}

}  // namespace nvfp4
