// SPDX-License-Identifier: Apache-2.0
// Between the checkpoint form of NVFP4 weights and the packed form that kernels read
// (templates/packed_layout.h). Packing is exact: every weight decodes to the same number, and what
// cannot be kept (NaN scales) is refused by name. Rows and k are padded to 64 x 64 with zero codes.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string_view>

namespace nvfp4 {

/// The tensor cannot be packed or unpacked; the message names it and the place.
class PackError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A matrix of a checkpoint, or some of its rows and columns: `codes` [n, k/2] (even k in the low
/// nibble) and `scales` [n, k/16] (E4M3), with the bytes from one row to the next.
struct CheckpointMatrix {
  const uint8_t* codes = nullptr;
  const uint8_t* scales = nullptr;
  int64_t n = 0;
  int64_t k = 0;
  int64_t codes_stride = 0;   ///< at least k / 2
  int64_t scales_stride = 0;  ///< at least k / 16
  std::string_view name;      ///< for messages
};

/// Packs a matrix into `out`, which holds packed_bytes(n, k). A negative scale moves its sign into
/// the codes, a zero scale zeroes them. `threads` >= 1. Throws PackError on a bad shape, a size
/// mismatch or a NaN scale (0x7f, 0xff); `out` is unspecified then.
void pack(const CheckpointMatrix& matrix, std::span<uint8_t> out, int threads);

/// The same of rows without gaps.
void pack(std::span<const uint8_t> codes, std::span<const uint8_t> scales, int64_t n, int64_t k,
          std::span<uint8_t> out, int threads, std::string_view name);

/// The inverse, in canonical bytes: no negative scale, and codes 0 where the scale is 0. Packing
/// the result gives `packed` again. Throws PackError on a bad shape, a size mismatch, or bytes that
/// pack never writes (a scale that is no E4M3 number, codes under a zero scale, padding that is not
/// zero).
void unpack(std::span<const uint8_t> packed, int64_t n, int64_t k, std::span<uint8_t> codes,
            std::span<uint8_t> scales, int threads, std::string_view name);

/// E2M1 * E4M3 of one weight of a packed matrix, without the global scale; exact. Reads the layout
/// bit by bit: slow, for checks. 0 <= row < n, 0 <= col < k.
double decode_packed_weight(std::span<const uint8_t> packed, int64_t n, int64_t k, int64_t row,
                            int64_t col);

}  // namespace nvfp4
