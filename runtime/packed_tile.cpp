// SPDX-License-Identifier: Apache-2.0
// Packing is a permutation of bits: four bytes of codes (one for each MMA slot, an even and an odd
// k each) become one packed word. The permutation follows from the layout at compile time, as the
// few mask-and-shift moves it takes between bytes, and runs on 16 words at once in vector
// registers. Only the GCC/Clang vector extension is used, so the code is the same on every CPU.
#include "runtime/packed_tile.h"

#include <array>
#include <bit>
#include <cstring>
#include <utility>

namespace nvfp4 {
namespace {

static_assert(std::endian::native == std::endian::little, "packed words are little-endian");

/// Sixteen bytes that move together, one for each of 16 packed words.
using Bytes = uint8_t __attribute__((vector_size(16)));
using Shorts = uint16_t __attribute__((vector_size(16)));
using Longs = uint64_t __attribute__((vector_size(16)));

/// Target of each bit of a 32-bit word: entry 8 * byte + bit is where that bit goes.
using BitPermutation = std::array<int, 32>;

/// Input byte `slot` holds slot j's two codes, the even k low; nibble h goes to half h of the word.
constexpr BitPermutation kPackWord = [] {
  BitPermutation target{};
  for (int slot = 0; slot < 4; ++slot) {
    for (int half = 0; half < 2; ++half) {
      for (int bit = 0; bit < 4; ++bit) {
        target[slot * 8 + half * 4 + bit] = half * 16 + code_bit_position(slot, bit);
      }
    }
  }
  return target;
}();

constexpr BitPermutation kUnpackWord = [] {
  BitPermutation target{};
  for (int i = 0; i < 32; ++i) target[kPackWord[i]] = i;
  return target;
}();

/// The bits of byte `from` that reach byte `to` by a shift of `shift` places.
constexpr uint8_t moved_bits(const BitPermutation& permutation, int from, int to, int shift) {
  uint8_t mask = 0;
  for (int bit = 0; bit < 8; ++bit) {
    const int target = permutation[from * 8 + bit];
    if (target / 8 == to && target % 8 - bit == shift) mask = static_cast<uint8_t>(mask | 1 << bit);
  }
  return mask;
}

template <BitPermutation kPermutation, int kFrom, int kTo, int kShift>
void move_bits(const Bytes (&in)[4], Bytes (&out)[4]) {
  constexpr uint8_t kMask = moved_bits(kPermutation, kFrom, kTo, kShift);
  if constexpr (kMask != 0) {
    // The mask keeps only bits that stay inside their byte, so a shift of long lanes moves bytes.
    const Longs bits = reinterpret_cast<Longs>(in[kFrom] & kMask);
    out[kTo] |= reinterpret_cast<Bytes>(kShift < 0 ? bits >> -kShift : bits << kShift);
  }
}

/// Applies a permutation of 32 bits to 16 words at once; in[b] and out[b] hold byte b of each word.
template <BitPermutation kPermutation>
void permute_words(const Bytes (&in)[4], Bytes (&out)[4]) {
  constexpr int kShifts = 15;  // -7 .. 7
  for (Bytes& bytes : out) bytes = Bytes{};
  [&]<int... i>(std::integer_sequence<int, i...>) {
    (move_bits<kPermutation, i / (4 * kShifts), i / kShifts % 4, i % kShifts - 7>(in, out), ...);
  }
  (std::make_integer_sequence<int, 4 * 4 * kShifts>{});
}

Bytes interleave_low(Bytes a, Bytes b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
Bytes interleave_high(Bytes a, Bytes b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                 31);
}
Bytes even_bytes(Bytes a, Bytes b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}
Bytes odd_bytes(Bytes a, Bytes b) {
  return __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

constexpr std::array<uint8_t, 256> kUnpackedScales = [] {
  std::array<uint8_t, 256> codes{};
  for (int byte = 0; byte < 256; ++byte) codes[byte] = static_cast<uint8_t>(unpacked_scale(byte));
  return codes;
}();

/// The lanes of a fragment row want [t][step] where the checkpoint has [step][8 bytes]: two rounds
/// of interleaving transpose it. low: bytes t = 0..3 of each step, high: bytes 4..7.
void split_row(const uint64_t (&blocks)[kTileSteps], Bytes& low, Bytes& high) {
  Bytes step01, step23;
  std::memcpy(&step01, &blocks[0], sizeof step01);
  std::memcpy(&step23, &blocks[2], sizeof step23);
  const Bytes step02 = interleave_low(step01, step23);
  const Bytes step13 = interleave_high(step01, step23);
  low = interleave_low(step02, step13);
  high = interleave_high(step02, step13);
}

void join_row(Bytes low, Bytes high, uint64_t (&blocks)[kTileSteps]) {
  const Bytes step02 = even_bytes(low, high);
  const Bytes step13 = odd_bytes(low, high);
  const Bytes step[4] = {even_bytes(step02, step02), even_bytes(step13, step13),
                         odd_bytes(step02, step02), odd_bytes(step13, step13)};
  for (int s = 0; s < kTileSteps; ++s) std::memcpy(&blocks[s], &step[s], kBlockBytes);
}

}  // namespace

void pack_tile(const CheckpointTile& tile, uint8_t* out) {
  for (int group = 0; group < kTileRows / 2; ++group) {  // rows g and g + 8 of a unit share words
    const int row = group / 8 * 16 + group % 8;
    Bytes codes[4], bytes[4];
    split_row(tile.blocks[row], codes[0], codes[2]);
    split_row(tile.blocks[row + 8], codes[1], codes[3]);
    permute_words<kPackWord>(codes, bytes);
    const Bytes words[4] = {interleave_low(bytes[0], bytes[1]), interleave_high(bytes[0], bytes[1]),
                            interleave_low(bytes[2], bytes[3]),
                            interleave_high(bytes[2], bytes[3])};
    uint8_t* const lanes = out + group * 64;
    for (int i = 0; i < 2; ++i) {
      const Shorts low = reinterpret_cast<Shorts>(words[i]);
      const Shorts high = reinterpret_cast<Shorts>(words[i + 2]);
      const Shorts first = __builtin_shufflevector(low, high, 0, 8, 1, 9, 2, 10, 3, 11);
      const Shorts second = __builtin_shufflevector(low, high, 4, 12, 5, 13, 6, 14, 7, 15);
      std::memcpy(lanes + i * 32, &first, sizeof first);
      std::memcpy(lanes + i * 32 + 16, &second, sizeof second);
    }
  }
  for (int row = 0; row < kTileRows; ++row) {
    uint8_t* const scales = out + kTileScaleOffset + row / 16 * kUnitScaleBytes;
    for (int step = 0; step < kTileSteps; ++step) {
      scales[scale_byte_position(row % 16, step)] = tile.scales[row][step];
    }
  }
}

void unpack_tile(const uint8_t* packed, CheckpointTile& tile) {
  for (int group = 0; group < kTileRows / 2; ++group) {
    const int row = group / 8 * 16 + group % 8;
    Bytes lanes[4], codes[4];
    std::memcpy(lanes, packed + group * 64, sizeof lanes);
    const Bytes even[2] = {even_bytes(lanes[0], lanes[1]), even_bytes(lanes[2], lanes[3])};
    const Bytes odd[2] = {odd_bytes(lanes[0], lanes[1]), odd_bytes(lanes[2], lanes[3])};
    const Bytes bytes[4] = {even_bytes(even[0], even[1]), even_bytes(odd[0], odd[1]),
                            odd_bytes(even[0], even[1]), odd_bytes(odd[0], odd[1])};
    permute_words<kUnpackWord>(bytes, codes);
    join_row(codes[0], codes[2], tile.blocks[row]);
    join_row(codes[1], codes[3], tile.blocks[row + 8]);
  }
  for (int row = 0; row < kTileRows; ++row) {
    const uint8_t* const scales = packed + kTileScaleOffset + row / 16 * kUnitScaleBytes;
    for (int step = 0; step < kTileSteps; ++step) {
      tile.scales[row][step] = kUnpackedScales[scales[scale_byte_position(row % 16, step)]];
    }
  }
}

}  // namespace nvfp4
