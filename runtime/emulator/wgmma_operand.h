// SPDX-License-Identifier: Apache-2.0
// Matrix operands of wgmma in shared memory, as a matrix descriptor says (PTX ISA, "Shared Memory
// Matrix Layout" and "Matrix Descriptor Format"). K-major, 16 elements of 16 bits deep: two 16-byte
// chunks a row.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/emulator/shared_shadow.h"

namespace nvfp4::emulator {

class Block;
class Warp;

/// Where the chunks of an operand lie.
class MatrixDescriptor {
 public:
  explicit MatrixDescriptor(uint64_t bits);

  /// Empty, or why this descriptor names no matrix in `shared_bytes` of shared memory.
  std::string complaint(int rows, size_t shared_bytes) const;

  /// Offset of 16 bytes: elements 8 * chunk .. + 7 of a row.
  uint32_t chunk(int row, int chunk) const {
    const uint32_t plain = start_ + static_cast<uint32_t>(row / 8) * stride_ +
                           static_cast<uint32_t>(row % 8) * pitch_ +
                           static_cast<uint32_t>(chunk) * chunk_stride_;
    return plain ^ ((plain >> 3) & mask_);
  }

 private:
  uint32_t start_;
  uint32_t stride_;        // between groups of 8 rows
  uint32_t pitch_;         // of rows in a group
  uint32_t chunk_stride_;  // between the two chunks of a row
  uint32_t mask_;          // address bits that the swizzle flips: bits 7 .. 9 into 4 .. 6
  uint32_t base_offset_;
};

/// Reads the operand for the whole warpgroup of `warp` as 16-bit elements [row][16]: checks the
/// descriptor and that all of its threads may read what lies there. What was never written reads as
/// NaN: a row of a token that does not exist spoils the sums of that token and no others.
void read_operand(Warp& warp, uint64_t descriptor, int rows, uint16_t* elements);

}  // namespace nvfp4::emulator
