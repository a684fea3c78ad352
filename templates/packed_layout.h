// SPDX-License-Identifier: Apache-2.0
// The packed form of an NVFP4 matrix: layout 1, the only weight layout of the product.
//
// W[N,K] is cut into tiles of 64 rows x 64 k, stored row-tile major: tile (i, j) starts at
// (i * ceil(K/64) + j) * 2304. Rows and k beyond the matrix hold code 0.
//
//   byte 0     unit 0: rows 0..15    32 lanes x 16 bytes
//        512   unit 1: rows 16..31     lane l, word s: the A fragment of lane l in the m16n8k16 MMA
//        1024  unit 2: rows 32..47     of k step s (k = 16 s .. 16 s + 15)
//        1536  unit 3: rows 48..63
//        2048  block scales           unit u, row g, then (s/2, h, s%2): one byte each
//        2304  end
//
// A word holds eight codes. With g = lane / 4 and t = lane % 4, half h (16 bits) of slot j is
//   row = g + 8 * (j & 1),   k = 16 s + 2 t + h + 8 * (j >> 1)
// and its four bits {sign, e1, e0, m} sit, within the half, at
//
//   bit  15 14 13 12 11 10  9  8  7  6  5  4  3  2  1  0
//   slot  0  3  3  1  3  3  2  0  0  0  1  1  1  2  2  2
//         s  e1 e0 s  m  s  s  e1 e0 m  e1 e0 m  e1 e0 m
//
// so three slots reach bf16's sign and low exponent bits with one shift and one AND.
//
// A block scale is E5M3: bits eeeeemmm stand for (1 + m/8) * 2^(e - 22). Every positive E4M3 value,
// subnormals too, is such a number (e = 13 .. 30); zero is stored by zeroing the block's codes.
// The byte times 16 plus 0x7000 is the bf16 number s * 2^119; the byte times 128 the fp16 number s * 2^7.
#pragma once

namespace nvfp4 {

constexpr int kLayoutVersion = 1;
constexpr int kTileRows = 64;
constexpr int kTileK = 64;
constexpr int kTileBytes = 2304;
constexpr int kUnitCodeBytes = 512;   ///< 16 rows x 64 k of codes
constexpr int kUnitScaleBytes = 64;   ///< 16 rows x 4 block scales
constexpr int kTileScaleOffset = 2048;
constexpr int kBlockSize = 16;        ///< weights that share a block scale

/// Decoded weights come out of the kernel's multiply as w * s * 2^-7 in bf16 and fp16 alike; the
/// epilogue's FP32 factor is the global scale times this.
constexpr float kDecodeFactor = 128.0f;

/// Bit of a half-word that holds bit `bit` (3 = sign .. 0 = mantissa) of slot `slot`.
constexpr int code_bit_position(int slot, int bit) {
  constexpr int kPositions[4][4] = {{6, 7, 8, 15}, {3, 4, 5, 12}, {0, 1, 2, 9}, {11, 13, 14, 10}};
  return kPositions[slot][bit];
}

/// Byte of the scale block of a unit that holds the scale of row `row` (0..15), k step `step` (0..3).
constexpr int scale_byte_position(int row, int step) {
  return (row % 8) * 8 + (step / 2) * 4 + (row / 8) * 2 + step % 2;
}

/// E4M3 as the layout's E5M3 byte, its sign left out: the exponent moves by 15, subnormals become
/// normal. No E4M3 number has byte 0xff, which stands for NaN here.
constexpr unsigned packed_scale(unsigned e4m3) {
  const unsigned magnitude = e4m3 & 0x7fu;
  if (magnitude == 0x7fu) return 0xffu;
  if (magnitude >= 8) return magnitude + (15u << 3);
  if (magnitude == 0) return 0;
  const unsigned exponent = magnitude >= 4 ? 2 : magnitude >= 2 ? 1 : 0;  // of magnitude * 2^-9
  return (exponent + 13u) << 3 | (magnitude << (3 - exponent) & 7u);
}

/// The positive E4M3 number of an E5M3 byte, or 0xff for a byte that stands for none.
constexpr unsigned unpacked_scale(unsigned e5m3) {
  const unsigned exponent = e5m3 >> 3, mantissa = e5m3 & 7u;
  if (e5m3 == 0) return 0;
  if (exponent >= 16) return e5m3 - (15u << 3) < 0x7fu ? e5m3 - (15u << 3) : 0xffu;
  if (exponent < 13) return 0xffu;
  const unsigned shift = 16 - exponent;  // of the bits of 1.mmm * 2^(e - 22) in units of 2^-9
  return (8u + mantissa) >> shift << shift == 8u + mantissa ? (8u + mantissa) >> shift : 0xffu;
}

constexpr long long packed_tiles(long long rows, long long k) {
  return ((rows + kTileRows - 1) / kTileRows) * ((k + kTileK - 1) / kTileK);
}

}  // namespace nvfp4
