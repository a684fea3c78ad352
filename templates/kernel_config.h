// SPDX-License-Identifier: Apache-2.0
// The keystone: the tunable parameters of one kernel and everything that follows from them. Host C++
// and NVRTC compile this same text; the struct is the kernel's template parameter, so both sides agree
// on threads, shared memory and workspace by construction. No toolkit or libc header is included.
//
// Evolution: a new field's default reproduces the old kernel; fields are never renamed or reused.
#pragma once

namespace nvfp4 {

enum class Family : int { mma = 0, wgmma = 1 };
enum class Activation : int { bf16 = 0, fp16 = 1 };
enum class Schedule : int { data_parallel = 0, split_k = 1, stream_k = 2 };

/// One kernel of the family. Tile sizes count elements: n = weight rows, m = tokens, k = reduction.
struct KernelConfig {
  Family family = Family::mma;
  Activation act = Activation::bf16;
  int block_n = 64;     ///< weight rows a CTA owns; a multiple of 16 x warps_n
  int block_m = 16;     ///< tokens a CTA owns; a multiple of 8
  int block_k = 64;     ///< k of one pipeline stage of one warp group; a multiple of 64
  int warps_n = 1;      ///< warps of a group: they share a stage's activations and split its rows
  int warps_k = 4;      ///< warp groups: each runs its own pipeline over its own share of k
  int num_stages = 3;   ///< depth of each group's cp.async pipeline
  Schedule schedule = Schedule::data_parallel;
  int split_k = 1;      ///< CTAs that share one output tile under Schedule::split_k
  int ctas_per_sm = 1;  ///< residency the register allocation is held to
  int cluster_m = 1;    ///< CTAs of a cluster along tokens (sm_90)
  int cluster_k = 1;    ///< CTAs of a cluster along k (sm_90)
  bool pdl = false;     ///< programmatic dependent launch (sm_90): weights are fetched before the wait

  friend constexpr bool operator==(const KernelConfig&, const KernelConfig&) = default;
};

constexpr int kWarpThreads = 32;
constexpr int kUnitRows = 16;  ///< rows of one MMA A fragment: the granularity of block_n
constexpr int kTokenTile = 8;  ///< tokens of one MMA n tile: the granularity of block_m

constexpr int align_up(int value, int alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

constexpr int warps(const KernelConfig& c) { return c.warps_n * c.warps_k; }
constexpr int threads(const KernelConfig& c) { return warps(c) * kWarpThreads; }

/// 16-row weight units that one warp multiplies.
constexpr int units_per_warp(const KernelConfig& c) { return c.block_n / (c.warps_n * kUnitRows); }

/// 64-wide k tiles of one stage.
constexpr int k_tiles_per_stage(const KernelConfig& c) { return c.block_k / 64; }

/// Bytes of packed weights of one 64-wide k tile: 512 of codes and 64 of block scales a unit, padded
/// so that the activations behind them start on a 128-byte swizzle row.
constexpr int weight_tile_bytes(const KernelConfig& c) {
  return align_up(c.block_n / kUnitRows * 576, 128);
}

/// Bytes of activations of one 64-wide k tile: one 128-byte row a token.
constexpr int activation_tile_bytes(const KernelConfig& c) { return c.block_m * 128; }

constexpr int stage_bytes(const KernelConfig& c) {
  return k_tiles_per_stage(c) * (weight_tile_bytes(c) + activation_tile_bytes(c));
}

constexpr int pipeline_bytes(const KernelConfig& c) {
  return c.warps_k * c.num_stages * stage_bytes(c);
}

/// Row pitch, in floats, of the tile in which warp groups leave their sums: + 4 keeps the scattered
/// fragment stores free of bank conflicts.
constexpr int reduction_pitch(const KernelConfig& c) { return c.block_n + 4; }

constexpr int reduction_bytes(const KernelConfig& c) {
  return c.warps_k * c.block_m * reduction_pitch(c) * 4;
}

/// Dynamic shared memory: the pipelines, whose space the reduction reuses after they drain.
constexpr int smem_bytes(const KernelConfig& c) {
  const int pipeline = pipeline_bytes(c);
  const int reduction = reduction_bytes(c);
  return pipeline > reduction ? pipeline : reduction;
}

/// Registers a thread may use so that ctas_per_sm CTAs stay resident (64 Ki registers an SM, 255 a
/// thread, allocated in eights a thread).
constexpr int register_budget(const KernelConfig& c) {
  const int fair = 65536 / (threads(c) * c.ctas_per_sm) / 8 * 8;
  return fair > 255 ? 255 : fair;
}

/// Accumulator registers of one thread.
constexpr int accumulator_registers(const KernelConfig& c) {
  return units_per_warp(c) * (c.block_m / kTokenTile) * 4;
}

/// CTAs that may hold a partial of one output tile; above one, sums travel through the workspace.
constexpr bool uses_workspace(const KernelConfig& c) {
  return c.schedule == Schedule::stream_k || (c.schedule == Schedule::split_k && c.split_k > 1);
}

/// Bytes of one partial tile in the workspace.
constexpr int partial_bytes(const KernelConfig& c) { return c.block_m * c.block_n * 4; }

}  // namespace nvfp4
