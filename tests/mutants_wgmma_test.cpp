// SPDX-License-Identifier: Apache-2.0
// Mutants of the wgmma family. The unchanged templates pass first, under each config that a mutant
// uses and under others that reach what those do not.
#include "tests/mutant_bench.h"

using namespace nvfp4;

namespace {

using Case = MutantCase;

// K of 7 or 13 k16 blocks: no multiple of block_k, and more steps than stages.
const Case kPlain{"family=wgmma,act=bf16,block_k=128,warps_n=4,warps_k=1,pdl=1", 136, 656, 13};
const Case kPairs{
    "family=wgmma,act=bf16,block_m=32,block_k=128,warps_n=4,warps_k=1,cluster_n=2,pdl=1", 200, 656,
    29};
const Case kFours{"family=wgmma,act=fp16,block_m=64,warps_n=4,warps_k=1,cluster_n=4,pdl=1", 200,
                  528, 61};
const Case kSplit{"family=wgmma,act=bf16,warps_n=4,warps_k=1,cluster_k=2,pdl=1", 136, 656, 13};
const Case kThirds{
    "family=wgmma,act=bf16,block_n=128,block_m=40,warps_n=8,warps_k=1,cluster_k=3,pdl=1", 136, 656,
    37};
const Case kTwoTiles{
    "family=wgmma,act=bf16,block_m=32,block_k=128,warps_n=4,warps_k=1,cluster_n=2,pdl=1", 136, 400,
    45};
const Case kWide{
    "family=wgmma,act=fp16,block_n=256,block_m=8,block_k=128,warps_n=8,warps_k=1,pdl=1", 264, 400,
    5};

// More tiles than clusters run at once: sums are pushed again into the same place.
const Case kReuse{"family=wgmma,act=bf16,block_m=8,warps_n=4,warps_k=1,cluster_k=2,pdl=1", 4544,
                  192, 8};

// One line of steps over more tiles than clusters: most tiles are shared by two.
const Case kStream{"family=wgmma,act=bf16,block_m=8,warps_n=4,warps_k=1,schedule=stream_k,pdl=1",
                   9000, 320, 8};

// Whole tiles first, and then the line.
const Case kTail{"family=wgmma,act=bf16,block_m=8,warps_n=4,warps_k=1,schedule=stream_k,pdl=1",
                 17300, 192, 8};

// No mutant needs these, but the templates must pass under them: the widest and narrowest tiles,
// odd N, several warpgroups, both kinds of cluster at once.
const Case kOthers[] = {
    {"family=wgmma,act=bf16,block_m=256,warps_n=4,warps_k=1,pdl=1", 109, 208, 251},
    {"family=wgmma,act=fp16,block_m=128,block_k=128,warps_n=4,warps_k=1,cluster_n=2,pdl=1", 129,
     336, 127},
    {"family=wgmma,act=bf16,block_n=128,block_m=24,warps_n=8,warps_k=1,num_stages=6,pdl=1", 201,
     464, 25},
    {"family=wgmma,act=fp16,block_n=192,block_m=8,warps_n=12,warps_k=1,pdl=1", 333, 272, 1},
    {"family=wgmma,act=bf16,block_n=128,block_m=64,block_k=128,warps_n=4,warps_k=1,pdl=1", 385, 400,
     77},
    {"family=wgmma,act=bf16,block_m=32,block_k=128,warps_n=4,warps_k=1,num_stages=4,cluster_n=2,"
     "cluster_k=2,pdl=1",
     173, 1040, 33},
    {"family=wgmma,act=bf16,block_m=48,block_k=128,warps_n=4,warps_k=1,ctas_per_sm=2,pdl=1", 64,
     2064, 96},
    {"family=wgmma,act=bf16,block_m=128,warps_n=4,warps_k=1,cluster_n=2,cluster_k=2,pdl=1", 136,
     528, 17},
    {"family=wgmma,act=fp16,block_n=128,block_m=32,warps_n=4,warps_k=1,num_stages=4,schedule="
     "stream_k,"
     "cluster_n=2,pdl=1",
     10241, 208, 45},
};

const Mutant kMutants[] = {
    // --- the ring and its mbarriers
    {"waits for the empty slot with the filled one's parity", "stage_ring.cuh", "at.parity ^ 1",
     "at.parity", kPlain},
    {"parity does not turn with the ring", "stage_ring.cuh", "parity ^= 1;", "", kPlain},
    {"fills a slot that is still read", "gemm_wgmma.cuh", "ring.wait_empty(at);\n            fill",
     "fill", kPlain},
    {"fills a slot that a peer still reads", "stage_ring.cuh", "* kConfig.cluster_n);\n    }",
     "* 1);\n    }", kPairs},
    {"reads a stage that has not landed", "gemm_wgmma.cuh", "ring.wait_filled(at);\n        next",
     "next", kPlain},
    {"releases to one CTA of the pair", "stage_ring.cuh", "rank_k * kConfig.cluster_n + lane)",
     "rank_k * kConfig.cluster_n)", kPairs},
    {"announces too few bytes", "stage_ring.cuh", "mbarrier_arrive_expect(filled(slot), bytes)",
     "mbarrier_arrive_expect(filled(slot), bytes - 16)", kPlain},
    {"announces too many bytes", "stage_ring.cuh", "mbarrier_arrive_expect(filled(slot), bytes)",
     "mbarrier_arrive_expect(filled(slot), bytes + 16)", kPlain},
    {"no fence behind the mbarriers' init", "stage_ring.cuh",
     "    mbarrier_init_fence();\n    fence_async_proxy();\n", "", kPlain},

    // --- wgmma
    {"no wgmma.fence", "gemm_wgmma.cuh", "wgmma_fence();", "", kPlain},
    {"releases a stage that a wgmma still reads", "gemm_wgmma.cuh", "wgmma_wait<1>();",
     "wgmma_wait<2>();", kPlain},
    {"touches a sum in flight", "gemm_wgmma.cuh", "wgmma_commit();",
     "wgmma_commit();\n      sums[0][0] += 1.0f;", kPlain},
    {"stores sums without the last wait", "gemm_wgmma.cuh", "wgmma_wait<0>();", "", kPlain},
    {"never commits a group", "gemm_wgmma.cuh", "wgmma_commit();", "", kPlain},
    {"wrong swizzle in the descriptor", "ptx_hopper.cuh", "u64{1} << 62", "u64{2} << 62", kPlain},
    {"wrong stride in the descriptor", "ptx_hopper.cuh", "u64{64} << 32", "u64{32} << 32", kPairs},
    {"wrong descriptor step within a row", "gemm_wgmma.cuh", "+ s * 2)", "+ s % 2 * 2)", kPlain},
    {"descriptor step that leaves the row", "gemm_wgmma.cuh", "+ s * 2)", "+ s * 8)", kPlain},
    {"takes more registers than the pool has", "kernel_config.h",
     "return share > 240 ? 240 : share;", "return share > 240 ? 240 : share + 8;", kWide},

    // --- clusters
    {"multicasts to the peer alone", "gemm_wgmma.cuh", "((1u << kConfig.cluster_n) - 1)",
     "((1u << kConfig.cluster_n) - 2)", kPairs},
    {"fetches the same tokens as the peer", "gemm_wgmma.cuh", "static_cast<int>(rank_n) * slice",
     "0 * slice", kPairs},
    {"puts its tokens where the peer's belong", "gemm_wgmma.cuh", "rank_n * slice * 128",
     "0 * slice * 128", kPairs},
    {"pushes sums at the wrong peer", "cluster_sum.cuh", "k * kConfig.cluster_n + rank_n;",
     "rank_k * kConfig.cluster_n + rank_n;", kSplit},
    {"pushes sums where another peer's belong", "cluster_sum.cuh", "from < k ? from : from - 1",
     "0", kThirds},
    {"adds its own sums twice", "cluster_sum.cuh",
     "if (k != rank_k) part =", "if (false) part =", kSplit},
    {"reads pushed sums before they have come", "cluster_sum.cuh",
     "    mbarrier_wait(barrier, parity);\n", "", kSplit},
    {"waits for the sums of the tile before", "gemm_wgmma.cuh", "      parity ^= 1;\n", "", kReuse},
    {"announces too many pushed bytes", "cluster_sum.cuh", "(kShares - 1) * warps",
     "kShares * warps", kSplit},
    {"announces no pushed bytes", "gemm_wgmma.cuh",
     "    if (kConfig.cluster_k > 1) exchange().expect();\n", "", kSplit},
    {"completes what it gave away", "cluster_sum.cuh", "owner(t) == rank_k", "owner(t) != rank_k",
     kSplit},
    {"pushes the next tile's sums over this one's", "gemm_wgmma.cuh",
     "    cluster_arrive();\n    cluster_wait();\n", "", kReuse},
    {"lets the next tile's sums come by a relaxed arrival", "gemm_wgmma.cuh",
     "    cluster_arrive();\n    cluster_wait();\n",
     "    cluster_arrive_relaxed();\n    cluster_wait();\n", kReuse},
    {"ends while a peer may still release to it", "gemm_wgmma.cuh",
     "if (elected && kConfig.cluster_n > 1) drain(at);", "", kPairs},

    // --- tiles that two clusters share
    {"leaves a shared tile's counter as it is", "shared_tile.cuh", "if (lane == 0) *counter = 0;",
     "", kStream},
    {"adds what the wrong neighbour left", "shared_tile.cuh", "2 * worker + 2 : 2 * worker - 1",
     "2 * worker + 1 : 2 * worker - 2", kStream},
    {"leaves both ends in one slot", "shared_tile.cuh", "(at_end ? 1 : 0)", "0", kStream},
    {"the later one finishes a shared tile alone", "shared_tile.cuh", "    add(sums, partial(",
     "    if (false) add(sums, partial(", kStream},
    {"the line begins at the first tile again", "tile_scheduler.cuh", "segment.tile += whole;", "",
     kTail},
    {"more whole tiles than leave a tile's steps of the line to each", "tile_scheduler.cuh",
     "(tiles / workers - 1) * workers", "tiles / workers * workers", kTail},
    {"takes a piece of a tile for the whole", "gemm_wgmma.cuh",
     "if (segment.end - segment.begin < kSteps) complete", "if (false) complete", kStream},

    // --- around the main loop
    {"fetches activations before the predecessor has ended", "gemm_wgmma.cuh",
     "    wait_for_predecessor();\n    typename Ring::Position at;\n    bool",
     "    typename Ring::Position at;\n    bool", kPlain},
    {"skipped K tail", "gemm_wgmma.cuh", "KTiles + kStageTiles - 1) / kStageTiles",
     "KTiles) / kStageTiles", kPlain},
    {"weights beyond the last k tile", "strip.cuh", "kKTiles % kStageTiles == 0 ||", "true ||",
     kPlain},
    {"weights beyond the matrix", "strip.cuh", "first + r < kMatrixTiles ?", "true ?", kWide},
    {"stores tokens beyond M", "store_tile.cuh", "first_token + base + token < params.m && inside",
     "inside", kPlain},
    {"stores single tokens beyond M", "store_tile.cuh", "token >= params.m || at >= rows.count",
     "at >= rows.count", kPlain},
    {"stores rows beyond N", "store_tile.cuh",
     "const bool inside = rows.row + lane % 2 * 8 < rows.count;", "const bool inside = true;",
     kPlain},
    {"no warp barrier before the patch is written again", "store_tile.cuh",
     "warp_sync();  // the patch has been read", "", kFours},
    {"no warp barrier before the patch is read", "store_tile.cuh",
     "      warp_sync();\n#pragma unroll\n      for (int pass",
     "#pragma unroll\n      for (int pass", kPlain},
    {"bias of the wrong half", "store_tile.cuh", "bias[i % 2]),\n", "bias[0]),\n", kPlain},
    {"the last tile is stored a token late", "gemm_wgmma.cuh",
     "store(rows, first_token(segment.tile), ", "store(rows, first_token(segment.tile) + 1, ",
     kTwoTiles},
    {"wrong scale group between k32 halves", "gemm_wgmma.cuh", "words.scales.x[s / 2]",
     "words.scales.x[0]", kPlain},
};

}  // namespace

TEST_SUITE("mutants_wgmma") {
  TEST_CASE("the unchanged templates pass the gate under every config that a mutant uses") {
    check_unchanged_templates_pass(std::array{kPlain, kPairs, kFours, kSplit, kThirds, kTwoTiles,
                                              kWide, kReuse, kStream, kTail});
  }

  TEST_CASE("the unchanged templates pass the gate for narrow and wide tiles, odd N, K and M") {
    check_unchanged_templates_pass(kOthers);
  }

  TEST_CASE("no mutant of the templates lives") { check_no_mutant_lives(kMutants); }
}
