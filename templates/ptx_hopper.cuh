// SPDX-License-Identifier: Apache-2.0
// The PTX that only sm_90a has: mbarriers, bulk and tensor copies, clusters, wgmma. The wgmma
// instruction itself has one register list a width, so the generator writes the one that a kernel uses
// (wgmma_tile, emit_wgmma.cpp).
#pragma once

#include "ptx.cuh"

namespace nvfp4 {

/// A CUtensorMap as the driver encodes it; passed to the kernel by value.
struct alignas(64) TensorMap {
  u64 opaque[16];
};

// --- mbarrier: a 64-bit object in shared memory. A phase ends when `count` arrivals and all announced
// --- bytes have come; waiters name the parity of the phase they wait for, which starts at 0.

__device__ __forceinline__ void mbarrier_init(u32 barrier, u32 count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(barrier), "r"(count) : "memory");
}

/// Makes initialised barriers visible to the copy engine and to the cluster.
__device__ __forceinline__ void mbarrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}

/// Arrives once and announces `bytes` more to come in this phase.
__device__ __forceinline__ void mbarrier_arrive_expect(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(barrier), "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void mbarrier_arrive(u32 barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(barrier) : "memory");
}

/// Arrives at the barrier of the same address in CTA `rank` of the cluster.
__device__ __forceinline__ void mbarrier_arrive_remote(u32 barrier, u32 rank) {
  asm volatile(
      "{.reg .b32 remote; mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];}\n" ::"r"(barrier),
      "r"(rank)
      : "memory");
}

/// One bounded wait: true once the phase of this parity has ended.
__device__ __forceinline__ bool mbarrier_try_wait(u32 barrier, u32 parity) {
  u32 done;
  asm volatile(
      "{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}\n"
      : "=r"(done)
      : "r"(barrier), "r"(parity)
      : "memory");
  return done != 0;
}

__device__ __forceinline__ void mbarrier_wait(u32 barrier, u32 parity) {
  while (!mbarrier_try_wait(barrier, parity)) {
  }
}

// --- Copies by the engine; completion counts bytes into an mbarrier of the destination CTA.

/// Starts a copy of `bytes` (a multiple of 16) contiguous bytes global -> shared.
__device__ __forceinline__ void bulk_copy(u32 shared, const void* global, u32 bytes, u32 barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::"r"(
          shared),
      "l"(global), "r"(bytes), "r"(barrier)
      : "memory");
}

/// Starts the copy of one box of a 2-D tensor at (x, y); outside the tensor it writes zeros.
__device__ __forceinline__ void tensor_copy(u32 shared, const TensorMap* map, int x, int y, u32 barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];\n" ::"r"(shared),
      "l"(map), "r"(x), "r"(y), "r"(barrier)
      : "memory");
}

/// The same into every CTA of the cluster whose bit is set, at the same address and barrier in each.
__device__ __forceinline__ void tensor_copy_multicast(u32 shared, const TensorMap* map, int x, int y,
                                                      u32 barrier, unsigned short cta_mask) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;\n" ::"r"(shared),
      "l"(map), "r"(x), "r"(y), "r"(barrier), "h"(cta_mask)
      : "memory");
}

__device__ __forceinline__ void prefetch_tensor_map(const TensorMap* map) {
  asm volatile("prefetch.tensormap [%0];\n" ::"l"(map) : "memory");
}

/// Orders this thread's earlier accesses to shared memory before later ones by the copy engine.
__device__ __forceinline__ void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

/// True in one lane of a converged warp. The compiler then knows that the branch runs alone and keeps the
/// copies' operands in uniform registers.
__device__ __forceinline__ bool elect_one() {
  u32 elected;
  asm volatile("{.reg .pred p; elect.sync _|p, 0xffffffff; selp.u32 %0, 1, 0, p;}\n" : "=r"(elected));
  return elected != 0;
}

/// Lane 0's value, in all lanes of a converged warp.
__device__ __forceinline__ int broadcast_lane(int value) {
  int result;
  asm volatile("shfl.sync.idx.b32 %0, %1, 0, 0x1f, 0xffffffff;\n" : "=r"(result) : "r"(value));
  return result;
}

/// Stores 8x8 matrices of 16-bit elements, each transposed; lane l passes the address of column l % 8 of
/// matrix l / 8, as 16 bytes.
__device__ __forceinline__ void stmatrix_x4_trans(u32 shared, const u32 (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};\n" ::"r"(shared),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}
__device__ __forceinline__ void stmatrix_x2_trans(u32 shared, u32 r0, u32 r1) {
  asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};\n" ::"r"(shared), "r"(r0),
               "r"(r1)
               : "memory");
}

// --- Clusters.

__device__ __forceinline__ u32 cluster_rank() {
  u32 rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;\n" : "=r"(rank));
  return rank;
}

/// The cluster's barrier, all threads of all its CTAs, in two halves. An arrival that orders memory waits
/// for the thread's global stores, a microsecond after an epilogue: where only time counts, it does not.
__device__ __forceinline__ void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;\n" ::: "memory");
}
__device__ __forceinline__ void cluster_arrive_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\n" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;\n" ::: "memory");
}

/// The address, in the cluster's window, of `shared` in CTA `rank`.
__device__ __forceinline__ u32 cluster_address(u32 shared, u32 rank) {
  u32 address;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;\n" : "=r"(address) : "r"(shared), "r"(rank));
  return address;
}

__device__ __forceinline__ F32x4 load_cluster(u32 address) {
  F32x4 v;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];\n"
               : "=f"(v.x[0]), "=f"(v.x[1]), "=f"(v.x[2]), "=f"(v.x[3])
               : "r"(address)
               : "memory");
  return v;
}

/// Gives registers back, or waits until the CTA's pool has enough for `kCount` a thread. By whole
/// warpgroups.
template <int kCount>
__device__ __forceinline__ void lower_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kCount));
}
template <int kCount>
__device__ __forceinline__ void raise_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kCount));
}

// --- wgmma: four warps multiply 64 rows by block_m tokens, asynchronously. Registers handed to it may
// --- not be touched until a wait has covered the group.

/// A value has its register from here on. Without this the compiler writes a sum's first zero where it is
/// first used, which is behind the fence.
__device__ __forceinline__ void pin(float& value) { asm volatile("" : "+f"(value)); }

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }

__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}

/// Waits until at most kPending of the warp's latest groups are in flight.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kPending) : "memory");
}

/// Descriptor of a K-major operand in 128-byte-swizzled shared memory (PTX ISA, "Matrix descriptor"):
///
///   bits 0-13 address/16 | 16-29 leading offset/16: 1, unused when swizzled | 32-45 stride/16 between
///   groups of 8 rows: 1024 bytes | 62-63 swizzle: 1 = 128 bytes
///
/// Adding 2 moves it by one k16 step (32 bytes) within the swizzle row.
__device__ __forceinline__ u64 wgmma_descriptor(u32 shared) {
  return u64{(shared >> 4) & 0x3FFF} | u64{1} << 16 | u64{64} << 32 | u64{1} << 62;
}

}  // namespace nvfp4
