// SPDX-License-Identifier: Apache-2.0
// A grouped launch of the mma family (mixture of experts): matrices of one shape, one an expert, and tokens
// sorted by expert. Each expert's tokens are cut into tiles of block_m of their own:
//
//   expert   0: 17 tokens     1: none   2: 3 tokens       block_m = 16
//   tiles    0 | 1 (1 token)            2                 times the tiles of rows
//
// The host knows how many tokens there are and not whose they are: it launches the CTAs that the worst case
// takes, each finds its tile in the offsets, and those beyond the last leave. Nobody waits for the host.
#pragma once

#include "gemm_mma.cuh"

namespace nvfp4 {

/// A tile of tokens and whose they are.
struct GroupTile {
  int expert;
  int first;   ///< token of the launch
  int tokens;  ///< of the expert from there on
};

/// The tile of tokens that comes `wanted`-th over all experts; false beyond the last. Lanes take equal runs of
/// experts, so that all offsets are read at once: the search costs a launch one latency of L2.
template <int kBlockM>
__device__ __forceinline__ bool find_tile(const Groups& groups, u32 wanted, GroupTile& tile) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const int run = (groups.experts + kWarpThreads - 1) / kWarpThreads;
  const int begin = lane * run < groups.experts ? lane * run : groups.experts;
  const int end = begin + run < groups.experts ? begin + run : groups.experts;
  const auto tiles_of = [](int tokens) { return static_cast<u32>((tokens + kBlockM - 1) / kBlockM); };

  u32 own = 0;
  int offset = groups.offsets[begin];
#pragma unroll 4
  for (int expert = begin; expert < end; ++expert) {
    const int next = groups.offsets[expert + 1];
    own += tiles_of(next - offset);
    offset = next;
  }
  u32 through = own;  // tiles of this lane's experts and of those before
#pragma unroll
  for (int step = 1; step < kWarpThreads; step *= 2) {
    const u32 other = __shfl_up_sync(~0u, through, step);
    if (lane >= step) through += other;
  }
  const u32 later = __ballot_sync(~0u, wanted < through);
  if (later == 0) return false;
  const int owner = __ffs(static_cast<int>(later)) - 1;
  if (lane == owner) {
    u32 left = wanted - (through - own);
    tile.expert = begin;
    while (true) {
      tile.first = groups.offsets[tile.expert];
      tile.tokens = groups.offsets[tile.expert + 1] - tile.first;
      const u32 tiles = tiles_of(tile.tokens);
      if (left < tiles) break;
      left -= tiles;
      ++tile.expert;
    }
    tile.first += static_cast<int>(left) * kBlockM;
    tile.tokens -= static_cast<int>(left) * kBlockM;
  }
  tile.expert = __shfl_sync(~0u, tile.expert, owner);
  tile.first = __shfl_sync(~0u, tile.first, owner);
  tile.tokens = __shfl_sync(~0u, tile.tokens, owner);
  return true;
}

/// A launch of the tile's expert alone, for its tokens from the tile's first on.
template <KernelConfig kConfig, int kN, int kK>
__device__ __forceinline__ GemmParams params_of(const GemmParams& params, const GroupTile& tile) {
  constexpr long long kRowTiles = (kN + kTileRows - 1) / kTileRows;
  constexpr long long kMatrixBytes = packed_tiles(kN, kK) * kTileBytes;
  const int size = params.out_type == OutputType::fp32 ? 4 : 2;
  GemmParams own = params;
  own.weights = static_cast<const unsigned char*>(params.weights) + tile.expert * kMatrixBytes;
  own.activations = static_cast<const unsigned char*>(params.activations) + tile.first * params.lda * 2;
  own.out = static_cast<unsigned char*>(params.out) + tile.first * params.ldo * size;
  if (params.bias != nullptr) own.bias = static_cast<const unsigned short*>(params.bias) + tile.expert * (kN * 1ll);
  own.global_scales = params.global_scales + tile.expert * kRowTiles;
  own.m = tile.tokens < kConfig.block_m ? tile.tokens : kConfig.block_m;
  own.tiles_m = 1;
  return own;
}

template <KernelConfig kConfig, int kN, int kK>
__device__ __forceinline__ void gemm_mma_grouped(const GemmParams& params, const Groups& groups) {
  static_assert(kConfig.schedule == Schedule::data_parallel, "a tile of an expert is one CTA's");
  constexpr u32 kTilesN = (kN + kConfig.block_n - 1) / kConfig.block_n;
  extern __shared__ __align__(128) unsigned char smem[];
  // Whose weights to read is for the predecessor to say: none before it has ended.
  if constexpr (kConfig.pdl) wait_for_predecessor();
  GroupTile tile;
  if (!find_tile<kConfig.block_m>(groups, blockIdx.x / kTilesN, tile)) return;
  const GemmParams own = params_of<kConfig, kN, kK>(params, tile);
  GemmMma<kConfig, kN, kK, OneOutput<kN>>(own, OneOutput<kN>{own}, smem).run(blockIdx.x % kTilesN, kTilesN);
}

}  // namespace nvfp4
