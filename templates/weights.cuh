// SPDX-License-Identifier: Apache-2.0
// Weights from one form to another, where they are: checkpoint to packed, back, and to numbers. Each runs
// once, at load, so a CTA takes one tile at a time through shared memory and bits move one by one.
#pragma once

#include "packed_layout.h"
#include "ptx.cuh"
#include "weights_params.h"

namespace nvfp4 {

constexpr int kTileBlocks = kTileRows * kTileK / kBlockSize;
constexpr int kRowBlocks = kTileK / kBlockSize;

/// One tile in the checkpoint's order, scales as E5M3 bytes.
struct TileForm {
  u64 blocks[kTileRows][kRowBlocks];  ///< 16 codes each, even k in the low nibble
  unsigned char scales[kTileRows][kRowBlocks];
};

/// The tile of this CTA, and a walk over its blocks.
struct TilePlace {
  int row;  ///< first of the tile
  int block;
  long long offset;  ///< bytes into the packed matrix

  __device__ explicit TilePlace(const WeightsParams& params) {
    const int tiles_k = (params.k + kTileK - 1) / kTileK;
    row = static_cast<int>(blockIdx.x / tiles_k) * kTileRows;
    block = static_cast<int>(blockIdx.x % tiles_k) * kRowBlocks;
    offset = static_cast<long long>(blockIdx.x) * kTileBytes;
  }
};

/// The lane's share of a tile in packed order: unit and row of the fragment, and k within a step.
struct FragmentPlace {
  int unit = static_cast<int>(threadIdx.x) / 32;
  int lane = static_cast<int>(threadIdx.x) % 32;
  __device__ int row(int slot) const { return unit * 16 + lane / 4 + slot % 2 * 8; }
  /// Byte within a block that holds the codes of k = 2t, 2t + 1 (+ 8).
  __device__ int byte(int slot) const { return lane % 4 + slot / 2 * 4; }
};

/// The 8 codes of one word, two of each slot.
__device__ __forceinline__ u32 pack_word(const TileForm& tile, const FragmentPlace& at, int step) {
  u32 word = 0;
#pragma unroll
  for (int slot = 0; slot < 4; ++slot) {
    const u32 pair = static_cast<u32>(tile.blocks[at.row(slot)][step] >> (at.byte(slot) * 8)) & 0xffu;
#pragma unroll
    for (int bit = 0; bit < 4; ++bit) {
      word |= (pair >> bit & 1u) << code_bit_position(slot, bit);
      word |= (pair >> (bit + 4) & 1u) << (code_bit_position(slot, bit) + 16);
    }
  }
  return word;
}

/// The byte of two codes of a slot of a word.
__device__ __forceinline__ u32 unpack_pair(u32 word, int slot) {
  u32 pair = 0;
#pragma unroll
  for (int bit = 0; bit < 4; ++bit) {
    pair |= (word >> code_bit_position(slot, bit) & 1u) << bit;
    pair |= (word >> (code_bit_position(slot, bit) + 16) & 1u) << (bit + 4);
  }
  return pair;
}

/// A packed tile in the checkpoint's order.
__device__ __forceinline__ void read_packed(const unsigned char* packed, TileForm& tile) {
  const FragmentPlace at;
  const U32x4 words = *reinterpret_cast<const U32x4*>(packed + at.unit * kUnitCodeBytes + at.lane * 16);
#pragma unroll
  for (int step = 0; step < kRowBlocks; ++step) {
#pragma unroll
    for (int slot = 0; slot < 4; ++slot) {
      reinterpret_cast<unsigned char*>(&tile.blocks[at.row(slot)][step])[at.byte(slot)] =
          static_cast<unsigned char>(unpack_pair(words.x[step], slot));
    }
  }
  for (int i = threadIdx.x; i < kTileBlocks; i += kWeightsThreads) {
    const int row = i / kRowBlocks;
    tile.scales[row][i % kRowBlocks] = packed[kTileScaleOffset + row / 16 * kUnitScaleBytes +
                                              scale_byte_position(row % 16, i % kRowBlocks)];
  }
  cta_sync();
}

/// Checkpoint to packed: a scale's sign and zero are folded into its codes, the padding is zero.
__device__ __forceinline__ void pack_weights(const WeightsParams& params, TileForm& tile) {
  constexpr u64 kSigns = 0x8888888888888888ull;
  const TilePlace place(params);
  for (int i = threadIdx.x; i < kTileBlocks; i += kWeightsThreads) {
    const long long row = place.row + i / kRowBlocks;
    const int block = place.block + i % kRowBlocks;
    u64 codes = 0;
    u32 scale = 0;
    if (row < params.n && block < params.k / kBlockSize) {
      const u32 code = params.scales[row * params.scales_stride + block];
      codes = *reinterpret_cast<const u64*>(params.codes + row * params.codes_stride + block * 8);
      scale = packed_scale(code);
      if ((code & 0x7fu) == 0x7fu) atomicMin(params.first_nan_row, static_cast<unsigned>(row));
      codes = scale == 0 ? 0 : codes ^ (code & 0x80u ? kSigns : 0);
    }
    tile.blocks[i / kRowBlocks][i % kRowBlocks] = codes;
    tile.scales[i / kRowBlocks][i % kRowBlocks] = static_cast<unsigned char>(scale);
  }
  cta_sync();
  unsigned char* packed = params.packed + place.offset;
  const FragmentPlace at;
  U32x4 words;
#pragma unroll
  for (int step = 0; step < kRowBlocks; ++step) words.x[step] = pack_word(tile, at, step);
  *reinterpret_cast<U32x4*>(packed + at.unit * kUnitCodeBytes + at.lane * 16) = words;
  for (int i = threadIdx.x; i < kTileBlocks; i += kWeightsThreads) {
    const int row = i / kRowBlocks;
    packed[kTileScaleOffset + row / 16 * kUnitScaleBytes + scale_byte_position(row % 16, i % kRowBlocks)] =
        tile.scales[row][i % kRowBlocks];
  }
}

/// Packed to canonical checkpoint bytes.
__device__ __forceinline__ void unpack_weights(const WeightsParams& params, TileForm& tile) {
  const TilePlace place(params);
  read_packed(params.packed + place.offset, tile);
  for (int i = threadIdx.x; i < kTileBlocks; i += kWeightsThreads) {
    const long long row = place.row + i / kRowBlocks;
    const int block = place.block + i % kRowBlocks;
    if (row >= params.n || block >= params.k / kBlockSize) continue;
    *reinterpret_cast<u64*>(params.codes + row * params.codes_stride + block * 8) =
        tile.blocks[i / kRowBlocks][i % kRowBlocks];
    params.scales[row * params.scales_stride + block] =
        static_cast<unsigned char>(unpacked_scale(tile.scales[i / kRowBlocks][i % kRowBlocks]));
  }
}

/// E2M1 as FP32: its bits are those of a float whose exponent is 126 too low, 0.5 a subnormal one.
__device__ __forceinline__ float e2m1_float(u32 code) {
  return __uint_as_float((code & 7u) << 22 | (code & 8u) << 28) * 0x1p126f;
}

/// (1 + m/8) * 2^(e - 22).
__device__ __forceinline__ float e5m3_float(u32 scale) { return __uint_as_float((scale << 20) + (105u << 23)); }

__device__ __forceinline__ float e4m3_float(u32 code) {
  if ((code & 0x7fu) == 0x7fu) return __uint_as_float(0x7fc00000u);
  const u32 magnitude = code & 0x7fu;
  const float value = magnitude < 8 ? static_cast<float>(magnitude) * 0x1p-9f
                                    : __uint_as_float((magnitude << 20) + (120u << 23));
  return code & 0x80u ? -value : value;
}

/// Nearest E4M3, ties to even; magnitudes above 448 give 448, NaN gives NaN.
__device__ __forceinline__ u32 e4m3_bits(float value) {
  const u32 bits = __float_as_uint(value);
  const u32 sign = bits >> 24 & 0x80u;
  const u32 magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return 0x7fu;
  if (magnitude >= 0x43e00000u) return sign | 0x7eu;  // 448
  // Below 2^-6 the unit stays 2^-9: adding 2^14 leaves just that many bits, rounded, at the low end.
  if (magnitude < 0x3c800000u) return sign | (__float_as_uint(__uint_as_float(magnitude) + 0x1p14f) & 0xfu);
  return sign | (((magnitude + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20) - (120u << 3));
}

/// Stores the 16 weights of one block.
__device__ __forceinline__ void store_block(const WeightsParams& params, long long first, u64 codes, float scale,
                                            float global_scale) {
  float w[kBlockSize];
#pragma unroll
  for (int i = 0; i < kBlockSize; ++i) w[i] = e2m1_float(static_cast<u32>(codes >> (4 * i))) * scale * global_scale;
  if (params.out_type == WeightType::fp32) {
    F32x4* out = reinterpret_cast<F32x4*>(static_cast<float*>(params.out) + first);
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = F32x4{w[4 * i], w[4 * i + 1], w[4 * i + 2], w[4 * i + 3]};
    return;
  }
  if (params.out_type == WeightType::fp8_e4m3) {
    U32x4 out = {};
#pragma unroll
    for (int i = 0; i < kBlockSize; ++i) out.x[i / 4] |= e4m3_bits(w[i]) << (i % 4 * 8);
    *reinterpret_cast<U32x4*>(static_cast<unsigned char*>(params.out) + first) = out;
    return;
  }
  U32x4* out = reinterpret_cast<U32x4*>(static_cast<unsigned short*>(params.out) + first);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    U32x4 words;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float low = w[half * 8 + 2 * i], high = w[half * 8 + 2 * i + 1];
      words.x[i] = params.out_type == WeightType::bf16 ? pack_bf16x2(low, high) : pack_f16x2(low, high);
    }
    out[half] = words;
  }
}

/// Packed to numbers.
__device__ __forceinline__ void dequantize_packed(const WeightsParams& params, TileForm& tile) {
  const TilePlace place(params);
  read_packed(params.packed + place.offset, tile);
  const float global_scale = params.global_scales[place.row / kTileRows];
  for (int i = threadIdx.x; i < kTileBlocks; i += kWeightsThreads) {
    const long long row = place.row + i / kRowBlocks;
    const int block = place.block + i % kRowBlocks;
    if (row >= params.n || block >= params.k / kBlockSize) continue;
    store_block(params, row * params.k + block * kBlockSize, tile.blocks[i / kRowBlocks][i % kRowBlocks],
                e5m3_float(tile.scales[i / kRowBlocks][i % kRowBlocks]), global_scale);
  }
}

/// Checkpoint to numbers: a thread a block.
__device__ __forceinline__ void dequantize_checkpoint(const WeightsParams& params) {
  const long long index = static_cast<long long>(blockIdx.x) * kWeightsThreads + threadIdx.x;
  const int blocks = params.k / kBlockSize;
  const long long row = index / blocks;
  const int block = static_cast<int>(index % blocks);
  if (row >= params.n) return;
  const u64 codes = *reinterpret_cast<const u64*>(params.codes + row * params.codes_stride + block * 8);
  const unsigned char* scales = params.scales + row * params.scales_stride;
  const bool combined = params.scale_type == WeightType::fp32;
  const float scale = combined ? reinterpret_cast<const float*>(scales)[block] : e4m3_float(scales[block]);
  store_block(params, row * params.k + block * kBlockSize, codes, scale, combined ? 1.0f : params.global_scale);
}

}  // namespace nvfp4

extern "C" __global__ void __launch_bounds__(nvfp4::kWeightsThreads)
nvfp4_pack_weights(const __grid_constant__ nvfp4::WeightsParams params) {
  __shared__ nvfp4::TileForm tile;
  nvfp4::pack_weights(params, tile);
}

extern "C" __global__ void __launch_bounds__(nvfp4::kWeightsThreads)
nvfp4_unpack_weights(const __grid_constant__ nvfp4::WeightsParams params) {
  __shared__ nvfp4::TileForm tile;
  nvfp4::unpack_weights(params, tile);
}

extern "C" __global__ void __launch_bounds__(nvfp4::kWeightsThreads)
nvfp4_dequantize_packed(const __grid_constant__ nvfp4::WeightsParams params) {
  __shared__ nvfp4::TileForm tile;
  nvfp4::dequantize_packed(params, tile);
}

extern "C" __global__ void __launch_bounds__(nvfp4::kWeightsThreads)
nvfp4_dequantize_checkpoint(const __grid_constant__ nvfp4::WeightsParams params) {
  nvfp4::dequantize_checkpoint(params);
}
