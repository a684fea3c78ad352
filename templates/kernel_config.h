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
  int block_k = 64;     ///< k of one pipeline stage; a multiple of 64
  int warps_n = 1;      ///< warps of a group: they share a stage's activations and split its rows
  int warps_k = 4;      ///< warp groups that take stages in turn (mma); 1 for wgmma
  int num_stages = 3;   ///< depth of the pipeline: of each group's own (mma), of the CTA's (wgmma)
  Schedule schedule = Schedule::data_parallel;
  int split_k = 1;      ///< CTAs that share one output tile under Schedule::split_k
  int ctas_per_sm = 1;  ///< residency the register allocation is held to
  int cluster_n = 1;    ///< CTAs of a cluster along n: they multicast their activations (wgmma)
  int cluster_k = 1;    ///< CTAs of a cluster along k: they sum through shared memory (wgmma)
  bool pdl = false;     ///< programmatic dependent launch (sm_90): weights are fetched before the wait

  friend constexpr bool operator==(const KernelConfig&, const KernelConfig&) = default;
};

constexpr int kWarpThreads = 32;
constexpr int kUnitRows = 16;  ///< rows of one MMA A fragment: the granularity of block_n
constexpr int kTokenTile = 8;  ///< tokens of one MMA n tile: the granularity of block_m

constexpr int align_up(int value, int alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

constexpr bool is_wgmma(const KernelConfig& c) { return c.family == Family::wgmma; }

/// Warps that multiply. The wgmma family adds a warpgroup that only starts copies: one warp would do,
/// but registers move between roles by whole warpgroups.
constexpr int warps(const KernelConfig& c) { return c.warps_n * c.warps_k; }
constexpr int threads(const KernelConfig& c) {
  return (warps(c) + (is_wgmma(c) ? 4 : 0)) * kWarpThreads;
}

constexpr int cluster_ctas(const KernelConfig& c) { return c.cluster_n * c.cluster_k; }

/// 16-row weight units that one warp multiplies.
constexpr int units_per_warp(const KernelConfig& c) { return c.block_n / (c.warps_n * kUnitRows); }

/// k16 steps whose activation fragments a warp of the mma family holds at once: all four of a k tile while they
/// are few registers. One of 16 token tiles instead of two takes 3 % less at 15360 x 3840, M = 128 (H100).
constexpr int batch_steps(const KernelConfig& c) { return c.block_m <= 16 ? 4 : c.block_m <= 64 ? 2 : 1; }

/// 64-wide k tiles of one stage.
constexpr int k_tiles_per_stage(const KernelConfig& c) { return c.block_k / 64; }

/// Bytes of packed weights of one 64-wide k tile: 512 of codes and 64 of block scales a unit. The mma
/// family pads them so that the activations behind them start on a 128-byte swizzle row.
constexpr int weight_tile_bytes(const KernelConfig& c) {
  const int bytes = c.block_n / kUnitRows * 576;
  return is_wgmma(c) ? bytes : align_up(bytes, 128);
}

/// Bytes of activations of one 64-wide k tile: one 128-byte row a token.
constexpr int activation_tile_bytes(const KernelConfig& c) { return c.block_m * 128; }

/// One stage. The wgmma family swizzles over 1024 bytes, on which every stage must start.
constexpr int stage_bytes(const KernelConfig& c) {
  const int bytes = k_tiles_per_stage(c) * (weight_tile_bytes(c) + activation_tile_bytes(c));
  return is_wgmma(c) ? align_up(bytes, 1024) : bytes;
}

constexpr int pipeline_bytes(const KernelConfig& c) {
  return (is_wgmma(c) ? 1 : c.warps_k) * c.num_stages * stage_bytes(c);
}

/// Row pitch, in floats, of the tile in which the mma family's warp groups leave their sums: + 4 keeps the
/// scattered fragment stores free of bank conflicts.
constexpr int reduction_pitch(const KernelConfig& c) { return c.block_n + 4; }

constexpr int reduction_bytes(const KernelConfig& c) {
  return is_wgmma(c) ? 0 : c.warps_k * c.block_m * reduction_pitch(c) * 4;
}

/// A warp of the wgmma family turns its sums, 32 tokens x 16 rows of output at a time, in a patch of its
/// own beside the pipeline, which goes on filling.
constexpr int kPatchTokens = 32;
constexpr int kPatchRowBytes = 32;
constexpr int patch_bytes(const KernelConfig& c) {
  return is_wgmma(c) ? warps(c) * kPatchTokens * kPatchRowBytes : 0;
}

/// Tokens of a tile that each CTA of a cluster along n fetches for all of them, of m in all. A box may reach
/// beyond the last token by 15 rows for nothing, but by 28 it is slow (36 tokens of 64 took 9.3 us, 7.0 in
/// smaller boxes, at 4096 x 4096 on an H100): fewer tokens than a tile come in boxes of whole sixteens. What
/// no box fills is never cleared: it spoils the sums of tokens that do not exist.
constexpr int slice_tokens(const KernelConfig& c, int m) {
  const int whole = c.block_m / c.cluster_n;
  const int share = (m + c.cluster_n - 1) / c.cluster_n;
  const int box = align_up(share, 16);
  return box < whole ? box : whole;
}

/// Token tiles that one CTA of a cluster along k finishes at most, and the sums of them that its peers send.
constexpr int exchanged_token_tiles(const KernelConfig& c) {
  return (c.block_m / kTokenTile + c.cluster_k - 1) / c.cluster_k;
}
constexpr int exchange_bytes(const KernelConfig& c) {
  return (c.cluster_k - 1) * c.block_n / kUnitRows * exchanged_token_tiles(c) * 512;
}

/// Two mbarriers a stage, filled and empty, and one for the sums of a cluster.
constexpr int barrier_bytes(const KernelConfig& c) { return is_wgmma(c) ? c.num_stages * 16 + 16 : 0; }

/// Dynamic shared memory: the pipeline, whose space the mma family's reduction reuses after it drains, then
/// patches, exchanged sums and barriers.
constexpr int smem_bytes(const KernelConfig& c) {
  const int pipeline = pipeline_bytes(c);
  const int reduction = reduction_bytes(c);
  return (pipeline > reduction ? pipeline : align_up(reduction, 16)) + patch_bytes(c) + exchange_bytes(c) +
         barrier_bytes(c);
}

/// Registers a thread is launched with so that ctas_per_sm CTAs stay resident (255 a thread, allocated in
/// eights a thread; 16 Ki in each of an SM's four parts, over which warps are dealt).
constexpr int launch_registers(const KernelConfig& c) {
  const int part_warps = (threads(c) / kWarpThreads * c.ctas_per_sm + 3) / 4;
  const int fair = 16384 / (part_warps * kWarpThreads) / 8 * 8;
  return fair > 255 ? 255 : fair;
}

/// The wgmma family moves registers from the producer to the consumers (setmaxnreg). What the roles
/// hold together must not exceed the launch's pool, or the consumers wait for ever.
constexpr int kProducerRegisters = 32;
constexpr int consumer_registers(const KernelConfig& c) {
  const int pool = launch_registers(c) / 8 * 8 * threads(c);
  const int share = (pool - kProducerRegisters * 128) / (warps(c) * kWarpThreads) / 8 * 8;
  return share > 240 ? 240 : share;
}

/// Registers a multiplying thread may use.
constexpr int register_budget(const KernelConfig& c) {
  return is_wgmma(c) ? consumer_registers(c) : launch_registers(c);
}

/// Accumulator registers of one thread.
constexpr int accumulator_registers(const KernelConfig& c) {
  return units_per_warp(c) * (c.block_m / kTokenTile) * 4;
}

/// Whether several CTAs may hold partial sums of one output tile that travel through the workspace.
constexpr bool uses_workspace(const KernelConfig& c) {
  return c.schedule == Schedule::stream_k || (c.schedule == Schedule::split_k && c.split_k > 1);
}

/// Bytes of one partial tile in the workspace.
constexpr int partial_bytes(const KernelConfig& c) { return c.block_m * c.block_n * 4; }

}  // namespace nvfp4
