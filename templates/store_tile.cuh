// SPDX-License-Identifier: Apache-2.0
// From complete sums to the output, warp by warp: no warp waits for another. A warp's fragments hold 16
// rows x 8 tokens each, rows spread over lanes, but the output wants consecutive rows of a token. stmatrix
// turns them in a patch of the warp's own, and a lane stores 16 bytes:
//
//   patch    32 tokens x 32 bytes; 16-byte halves swap where token & 4, so that eight tokens of one
//            half (stmatrix) and four tokens of both (reads) lie in different banks
//
// Outputs that this does not fit (fp32, unaligned rows, odd N) are stored element by element.
#pragma once

#include "epilogue.cuh"
#include "ptx_hopper.cuh"

namespace nvfp4 {

template <KernelConfig kConfig, int kN, typename Outputs>
struct TileStore {
  static constexpr int kTokens = kConfig.block_m;

  const GemmParams& params;
  const Outputs& outputs;
  unsigned char* patch;  ///< the warp's own
  int lane;
  int first_tile;  ///< token tiles [first_tile, last_tile) are stored
  int last_tile;

  /// Whether every row of the output can take 16-byte stores.
  __device__ bool vectors(const OutputRows& rows) const {
    return rows.count % kRowsPerThread == 0 && params.out_type != OutputType::fp32 &&
           ((reinterpret_cast<u64>(rows.out) | static_cast<u64>(rows.ldo) * 2) & 15) == 0;
  }

  /// Stores the unit that starts at `row` of the matrix for the tile's tokens from `first_token` on.
  __device__ void store(const float (&sums)[kTokens / 2], int row, int first_token, float factor) const {
    if (row >= kN) return;
    float bias[2] = {0.0f, 0.0f};
    if (params.bias != nullptr) {
      if (row + lane / 4 < kN) bias[0] = bias_value<kConfig.act>(params.bias, row + lane / 4);
      if (row + 8 + lane / 4 < kN) bias[1] = bias_value<kConfig.act>(params.bias, row + 8 + lane / 4);
    }
    const OutputRows rows = outputs.of(row);
    if (!vectors(rows)) {
      store_elements(sums, rows, first_token, factor, bias);
    } else if (params.out_type == OutputType::bf16) {
      store_vectors<OutputType::bf16>(sums, rows, first_token, factor, bias);
    } else {
      store_vectors<OutputType::fp16>(sums, rows, first_token, factor, bias);
    }
  }

 private:
  __device__ bool mine(int token) const {
    return token >= first_tile * kTokenTile && token < last_tile * kTokenTile;
  }

  // A product without bias keeps the sign of its zero.
  __device__ float finish(float sum, float factor, float bias) const {
    return params.bias != nullptr ? __fmaf_rn(sum, factor, bias) : sum * factor;
  }

  template <OutputType kType>
  __device__ u32 pack(float low, float high) const {
    return kType == OutputType::bf16 ? pack_bf16x2(low, high) : pack_f16x2(low, high);
  }

  __device__ unsigned char* place(int token, int half) const {
    return patch + token * kPatchRowBytes + ((half ^ (token / 4 % 2)) * 16);
  }

  template <OutputType kType>
  __device__ void store_vectors(const float (&sums)[kTokens / 2], const OutputRows& rows, int first_token,
                                float factor, const float (&bias)[2]) const {
    unsigned char* out = rows.out + (rows.row + lane % 2 * 8) * 2;
    const bool inside = rows.row + lane % 2 * 8 < rows.count;
#pragma unroll
    for (int base = 0; base < kTokens; base += kPatchTokens) {
      if (first_token + base >= params.m || base >= last_tile * kTokenTile) return;
      if (base + kPatchTokens <= first_tile * kTokenTile) continue;
      warp_sync();  // the patch has been read
#pragma unroll
      for (int t = base / kTokenTile; t < (base + kPatchTokens) / kTokenTile; t += 2) {
        if (t * kTokenTile >= kTokens) continue;
        u32 turned[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int at = (t * 2 + i) * 2;  // rows 0..7 and 8..15 of token tile t, then of t + 1
          if (at >= kTokens / 2) continue;
          turned[i] = pack<kType>(finish(sums[at], factor, bias[i % 2]),
                                  finish(sums[at + 1], factor, bias[i % 2]));
        }
        const int token = t * kTokenTile - base + lane % 8;
        if ((t + 1) * kTokenTile < kTokens) {
          stmatrix_x4_trans(smem_address(place(token + lane / 16 * 8, lane / 8 % 2)), turned);
        } else {
          stmatrix_x2_trans(smem_address(place(token, lane / 8 % 2)), turned[0], turned[1]);
        }
      }
      warp_sync();
#pragma unroll
      for (int pass = 0; pass < kPatchTokens; pass += kWarpThreads / 2) {
        const int token = pass + lane / 2;
        if (mine(base + token) && first_token + base + token < params.m && inside) {
          *reinterpret_cast<U32x4*>(out + (first_token + base + token) * rows.ldo * 2) =
              *reinterpret_cast<const U32x4*>(place(token, lane % 2));
        }
      }
    }
  }

  __device__ void store_elements(const float (&sums)[kTokens / 2], const OutputRows& rows, int first_token,
                                 float factor, const float (&bias)[2]) const {
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) {
      const int token = first_token + i / 4 * kTokenTile + lane % 4 * 2 + i % 2;
      const int at = rows.row + lane / 4 + i / 2 % 2 * 8;
      if (!mine(token - first_token) || token >= params.m || at >= rows.count) continue;
      const float value = finish(sums[i], factor, bias[i / 2 % 2]);
      const long long place = token * rows.ldo + at;
      if (params.out_type == OutputType::fp32) {
        reinterpret_cast<float*>(rows.out)[place] = value;
      } else {
        const u32 bits = params.out_type == OutputType::bf16 ? pack_bf16x2(value, 0) : pack_f16x2(value, 0);
        reinterpret_cast<unsigned short*>(rows.out)[place] = static_cast<unsigned short>(bits);
      }
    }
  }
};

}  // namespace nvfp4
