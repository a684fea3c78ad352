// SPDX-License-Identifier: Apache-2.0
// The arithmetic of one warp's share of a wgmma, in the layout of its registers (PTX ISA, "Register
// Fragments for wgmma.mma_async.m64nNk16"): lane 4g + t of accumulator 4j + 2h + p holds row g + 8h
// and column 8j + 2t + p.
#pragma once

#include <cstdint>

namespace nvfp4::emulator {

/// A[g + 8h][k] at [k][h][lane], for all lanes of a group of four.
struct LaneRows {
  alignas(64) float value[16][2][32];
};

/// B[k][8j + 2t + p] at [j][k][p][t].
struct LaneColumns {
  alignas(64) float value[32][16][2][4];
};

/// sums[i] += A x B for the accumulators of `tiles` groups of eight columns; products are added in
/// ascending k, each sum rounded to FP32. Without `accumulate`, sums start at zero.
void multiply_lanes(const LaneRows& a, const LaneColumns& b, int tiles, bool accumulate,
                    uint32_t* const* sums);

}  // namespace nvfp4::emulator
