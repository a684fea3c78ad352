// SPDX-License-Identifier: Apache-2.0
// Mutants of grouped launches. The unchanged templates pass first.
#include "tests/mutant_bench.h"

using namespace nvfp4;

namespace {

// More experts than lanes, experts without tokens, ragged N, K and tiles.
const MutantCase kNarrow{"family=mma,act=bf16,block_n=32,block_m=8,warps_k=2,pdl=1", 104, 208, 43,
                         40};
const MutantCase kFew{"family=mma,act=bf16,warps_k=2,pdl=1", 100, 144, 29, 3};

const Mutant kMutants[] = {
    {"lanes do not cover the experts", "gemm_grouped.cuh",
     "(groups.experts + kWarpThreads - 1) / kWarpThreads", "groups.experts / kWarpThreads",
     kNarrow},
    {"ragged tile of an expert forgotten", "gemm_grouped.cuh", "(tokens + kBlockM - 1) / kBlockM",
     "tokens / kBlockM", kNarrow},
    {"an offset of the next expert skipped", "gemm_grouped.cuh",
     "const int next = groups.offsets[expert + 1];", "const int next = groups.offsets[expert];",
     kNarrow},
    {"sum over lanes leaves one out", "gemm_grouped.cuh", "if (lane >= step) through += other;",
     "if (lane > step) through += other;", kNarrow},
    {"last tile of a lane goes to the next", "gemm_grouped.cuh", "wanted < through",
     "wanted + 1 < through", kNarrow},
    {"tiles before the lane counted again", "gemm_grouped.cuh",
     "u32 left = wanted - (through - own);", "u32 left = wanted;", kNarrow},
    {"an expert's tiles not stepped over", "gemm_grouped.cuh", "      left -= tiles;\n", "",
     kNarrow},
    {"every tile starts at the expert's first token", "gemm_grouped.cuh",
     "tile.first += static_cast<int>(left) * kBlockM;", "", kFew},
    {"tokens of earlier tiles counted again", "gemm_grouped.cuh",
     "tile.tokens -= static_cast<int>(left) * kBlockM;", "", kFew},
    {"tokens of the neighbour taken along", "gemm_grouped.cuh",
     "own.m = tile.tokens < kConfig.block_m ? tile.tokens : kConfig.block_m;",
     "own.m = kConfig.block_m;", kFew},
    {"another expert's weights", "gemm_grouped.cuh", "tile.expert * kMatrixBytes",
     "0 * kMatrixBytes", kFew},
    {"weights found by N without padding", "gemm_grouped.cuh", "packed_tiles(kN, kK) * kTileBytes",
     "packed_tiles(kN - kTileRows, kK) * kTileBytes", kFew},
    {"another expert's global scales", "gemm_grouped.cuh", "tile.expert * kRowTiles",
     "0 * kRowTiles", kFew},
    {"another expert's bias", "gemm_grouped.cuh", "tile.expert * (kN * 1ll)", "0 * (kN * 1ll)",
     kFew},
    {"activations by N", "gemm_grouped.cuh", "tile.first * params.lda * 2", "tile.first * kN * 2",
     kFew},
    {"output rows by N, whatever their stride", "gemm_grouped.cuh",
     "tile.first * params.ldo * size", "tile.first * kN * size", kFew},
    {"FP32 rows taken for halves", "gemm_grouped.cuh",
     "params.out_type == OutputType::fp32 ? 4 : 2", "2", kFew},
    {"expert known to one lane only", "gemm_grouped.cuh",
     "tile.expert = __shfl_sync(~0u, tile.expert, owner);", "", kNarrow},
};

}  // namespace

TEST_SUITE("mutants_grouped") {
  TEST_CASE("the unchanged templates pass the gate") {
    const MutantCase cases[] = {kNarrow, kFew};
    check_unchanged_templates_pass(cases);
  }

  TEST_CASE("every mutant is condemned") { check_no_mutant_lives(kMutants); }
}
