// SPDX-License-Identifier: Apache-2.0
// Mutants of the mma family. The unchanged templates pass first, under each config that a mutant
// uses.
#include "tests/mutant_bench.h"

using namespace nvfp4;

namespace {

using Case = MutantCase;

// Small problems that still reach every path: ragged N, K and M, odd strips, all schedules.
const Case kPlain{"family=mma,act=bf16,block_n=32,block_m=8,warps_k=2,pdl=1", 112, 400, 13};
const Case kShared{"family=mma,act=bf16,block_n=128,block_m=24,warps_n=2,warps_k=2,pdl=1", 136, 384,
                   29};
const Case kWide{"family=mma,act=bf16,block_n=48,block_k=128,warps_k=2,num_stages=2,pdl=1", 112,
                 656, 16};
const Case kHalf{"family=mma,act=fp16,warps_k=2,pdl=1", 64, 256, 16};
const Case kSplit{
    "family=mma,act=bf16,block_n=32,block_m=8,warps_k=2,schedule=split_k,split_k=3,pdl=1", 96, 896,
    8};
const Case kStream{"family=mma,act=bf16,block_n=32,block_m=8,warps_k=1,schedule=stream_k,pdl=1",
                   1120, 640, 8};

// Two steps a tile and more tiles than CTAs: a CTA goes from a whole tile straight to the next.
const Case kStreamWhole{
    "family=mma,act=bf16,block_n=32,block_m=8,warps_k=2,schedule=stream_k,pdl=1", 6400, 128, 8};

// Token tiles whose activations are loaded in pairs.
const Case kTall{"family=mma,act=bf16,block_n=32,block_m=80,warps_k=2,pdl=1", 96, 208, 77};

const Mutant kMutants[] = {
    {"missing barrier between landing and use", "gemm_mma.cuh",
     "      group_sync();  // the stage has landed", "      // the stage has landed", kShared},
    {"missing warp barrier in a group of one", "gemm_mma.cuh",
     "      group_sync();  // the stage has landed", "      // the stage has landed", kPlain},
    {"wrong wait depth", "gemm_mma.cuh", "cp_async_wait<kStages - 2>()",
     "cp_async_wait<kStages - 1>()", kPlain},
    {"stale stage: refills the slot in use", "gemm_mma.cuh", "slot == 0 ? kStages - 1 : slot - 1",
     "slot", kPlain},
    {"ring never wraps at its end", "gemm_mma.cuh", "slot = slot == kStages - 1 ? 0 : slot + 1",
     "slot = slot == kStages - 2 ? 0 : slot + 1", kPlain},
    {"skipped K tail", "gemm_mma.cuh", "kSteps = (kK + kConfig.block_k - 1) / kConfig.block_k",
     "kSteps = kK / kConfig.block_k", kPlain},
    {"swapped halves of the activation fragment", "gemm_mma.cuh",
     "mma_bf16(sums[u][t], a, b[t][i * 2], b[t][i * 2 + 1])",
     "mma_bf16(sums[u][t], a, b[t][i * 2 + 1], b[t][i * 2])", kPlain},
    {"token tiles of a pair swapped", "gemm_mma.cuh", "b[t + i / 2 % kTiles]",
     "b[t + 1 - i / 2 % kTiles]", kTall},
    {"unswizzled activation read", "gemm_mma.cuh", "((chunk ^ (lane % 8)) * 16)", "(chunk * 16)",
     kPlain},
    {"wrong scale group within a k32 half", "decode.cuh", "step % 2 ? 0x4341u : 0x4240u", "0x4240u",
     kPlain},
    {"wrong scale group between k32 halves", "gemm_mma.cuh", "bytes.x[i / 2]", "bytes.x[0]",
     kPlain},
    {"scales of rows g and g + 8 swapped", "decode.cuh", "const u32 low = duplicate_low(scales);",
     "const u32 low = duplicate_high(scales);", kPlain},
    {"sign of one slot lost", "decode.cuh",
     "mul_bf16x2(slot3 | ((codes * 32u) & 0x80008000u), high)", "mul_bf16x2(slot3, high)", kPlain},
    {"fp16 magnitude bit lost", "decode.cuh", "kMagnitude = 0x0E000E00u",
     "kMagnitude = 0x0C000C00u", kHalf},
    {"fp16 scale off by two", "decode.cuh", "return pair * 128u;", "return pair * 64u;", kHalf},
    {"early cast of the accumulators", "epilogue.cuh", "at[kPitch + 8] = sums[u][t][3];",
     "at[kPitch + 8] = __uint_as_float(__float_as_uint(sums[u][t][3]) & 0xFFFF0000u);", kPlain},
    {"missing barrier before the reduction tile", "gemm_mma.cuh",
     "    cta_sync();  // all groups have left", "    // all groups have left", kPlain},
    {"missing barrier before the sums are read", "gemm_mma.cuh",
     "sums, warp_n, lane);\n    cta_sync();", "sums, warp_n, lane);", kPlain},
    {"last warp group left out of the sum", "epilogue.cuh", "group < kConfig.warps_k; ++group",
     "group < kConfig.warps_k - 1; ++group", kPlain},
    {"reads tokens beyond M", "tile_loader.cuh", "const bool valid = inside && t < tokens_left;",
     "const bool valid = inside;", kPlain},
    {"reads activations beyond K", "tile_loader.cuh", "kK % kTileK == 0 && !kRaggedK ? true",
     "true ? true", kPlain},
    {"reads weights beyond the last k tile", "tile_loader.cuh", "!kRaggedK || k_tile < kKTiles",
     "true", kWide},
    {"reads weight units beyond the matrix", "tile_loader.cuh",
     "             inside && u < units_left);\n      }\n#pragma unroll\n      for (int c",
     "             inside);\n      }\n#pragma unroll\n      for (int c", kWide},
    {"wrong place in the row tile for an odd strip", "tile_loader.cuh",
     "phase = kAligned ? 0 : unit % 4;", "phase = 0;", kWide},
    {"stores rows beyond N",
     "epilogue.cuh",
     "rows.count - rows.row < kRowsPerThread ? rows.count - rows.row : kRowsPerThread",
     "kRowsPerThread",
     {"family=mma,act=bf16,block_n=32,block_m=8,warps_k=2,pdl=1", 109, 256, 8}},
    {"global scale of the wrong row tile", "epilogue.cuh", "params.global_scales[row / kTileRows]",
     "params.global_scales[row / (2 * kTileRows)]", kShared},
    {"bias left out", "epilogue.cuh", "__fmaf_rn(sums.x[i], factor, bias)",
     "__fmaf_rn(sums.x[i], factor, 0.0f)", kPlain},
    {"activations read before the predecessor has ended", "gemm_mma.cuh",
     "    if (kConfig.pdl && first) wait_for_predecessor();\n#pragma unroll\n    for (int s = 0; s "
     "< kStages - 1; ++s) {\n"
     "      const int step = segment.begin + group + s * kConfig.warps_k;\n"
     "      if (step < segment.end) loader.load_activations(s, step);\n      cp_async_commit();\n  "
     "  }\n",
     "#pragma unroll\n    for (int s = 0; s < kStages - 1; ++s) {\n"
     "      const int step = segment.begin + group + s * kConfig.warps_k;\n"
     "      if (step < segment.end) loader.load_activations(s, step);\n      cp_async_commit();\n  "
     "  }\n"
     "    if (kConfig.pdl && first) wait_for_predecessor();\n",
     kPlain},
    {"never waits for the predecessor", "gemm_mma.cuh",
     "    if (kConfig.pdl && first) wait_for_predecessor();\n#pragma unroll", "#pragma unroll",
     kPlain},
    {"dirty workspace: counters not returned to zero", "gemm_mma.cuh",
     "      if (arrived == last - first) *counter = 0;  // left zero for the next launch\n", "",
     kSplit},
    {"reduces before the last partial has arrived", "gemm_mma.cuh",
     "if (arrived != last - first) return;", "if (arrived + 1 != last - first) return;", kSplit},
    {"stream-K partials share a slot", "tile_scheduler.cuh", "start(w) >= tile * kSteps ? 0 : 1",
     "start(w) >= tile * kSteps ? 0 : 0", kStream},
    {"missing barrier before the next segment's copies", "gemm_mma.cuh",
     "      cta_sync();  // the next segment's copies", "      // the next segment's copies",
     kStreamWhole},
    {"split-K drops the first share's partial", "gemm_mma.cuh",
     "for (u32 cta = first; cta <= last; ++cta)", "for (u32 cta = first + 1; cta <= last; ++cta)",
     kSplit},
};

}  // namespace

TEST_SUITE("mutants") {
  TEST_CASE("the unchanged templates pass the gate under every config that a mutant uses") {
    check_unchanged_templates_pass(
        std::array{kPlain, kShared, kWide, kTall, kHalf, kSplit, kStream, kStreamWhole});
  }

  TEST_CASE("no mutant of the templates lives") {
    check_no_mutant_lives(kMutants);
    CHECK(std::size(kMutants) >= 16);
  }
}
