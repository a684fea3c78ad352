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
const Case kGroups{"family=wgmma,act=bf16,block_k=128,warps_n=4,warps_k=2,num_stages=4,pdl=1", 136,
                   656, 13};
const Case kWide{
    "family=wgmma,act=fp16,block_n=256,block_m=8,block_k=128,warps_n=8,warps_k=1,pdl=1", 264, 400,
    5};

// More tiles than clusters run at once: the ring is used again behind a reduction.
const Case kReuse{"family=wgmma,act=bf16,block_m=8,warps_n=4,warps_k=1,cluster_k=2,pdl=1", 4544,
                  192, 8};

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
    {"family=wgmma,act=bf16,block_m=32,block_k=128,warps_n=4,warps_k=2,num_stages=4,cluster_n=2,"
     "cluster_k=2,pdl=1",
     173, 1040, 33},
    {"family=wgmma,act=bf16,block_m=48,block_k=128,warps_n=4,warps_k=1,ctas_per_sm=2,pdl=1", 64,
     2064, 96},
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
    {"no proxy fence before the ring is used again", "gemm_wgmma.cuh",
     "    fence_async_proxy();  // the ring's next", "    // the ring's next", kReuse},

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
    {"fetches the same tokens as the peer", "gemm_wgmma.cuh",
     "static_cast<int>(rank_n) * kSliceTokens", "0 * kSliceTokens", kPairs},
    {"puts its tokens where the peer's belong", "gemm_wgmma.cuh", "rank_n * (kSliceTokens * 128)",
     "0 * (kSliceTokens * 128)", kPairs},
    {"sums its own share twice", "gemm_wgmma.cuh", "part * kConfig.cluster_n + rank_n)",
     "rank_k * kConfig.cluster_n + rank_n)", kSplit},
    {"leaves the last share out of the sum", "gemm_wgmma.cuh", "part < kConfig.cluster_k",
     "part < kConfig.cluster_k - 1", kSplit},
    {"publishes its sums by a relaxed arrival", "gemm_wgmma.cuh",
     "if constexpr (kConfig.cluster_k > 1) {\n      cluster_arrive();",
     "if constexpr (kConfig.cluster_k > 1) {\n      cluster_arrive_relaxed();", kSplit},
    {"ends while a peer may still release to it", "gemm_wgmma.cuh",
     "if (elected && kConfig.cluster_n > 1) drain(at);", "", kPairs},
    {"ends while a peer still reads its sums", "gemm_wgmma.cuh",
     "      cluster_arrive_relaxed();\n      cluster_wait();\n    }\n  }\n\n  // --- The producer",
     "    }\n  }\n\n  // --- The producer", kSplit},

    // --- around the main loop
    {"fetches activations before the predecessor has ended", "gemm_wgmma.cuh",
     "    wait_for_predecessor();\n    typename Ring::Position at;\n    bool",
     "    typename Ring::Position at;\n    bool", kPlain},
    {"no barrier before the slabs take over the ring", "gemm_wgmma.cuh",
     "named_barrier_sync(1, warps(kConfig) * kWarpThreads);  // all groups", "// all groups",
     kGroups},
    {"no barrier before the sums are read", "gemm_wgmma.cuh",
     "named_barrier_sync(1, warps(kConfig) * kWarpThreads);\n    }", "}", kGroups},
    {"skipped K tail", "gemm_wgmma.cuh", "KTiles + kStageTiles - 1) / kStageTiles",
     "KTiles) / kStageTiles", kPlain},
    {"weights beyond the last k tile", "strip.cuh", "kKTiles % kStageTiles == 0 ||", "true ||",
     kPlain},
    {"weights beyond the matrix", "strip.cuh", "first + r < kMatrixTiles ?", "true ?", kWide},
    {"stores tokens beyond M behind a reduction", "gemm_wgmma.cuh",
     "left < kConfig.block_m ? left : kConfig.block_m", "kConfig.block_m", kSplit},
    {"stores tokens beyond M", "store_tile.cuh", "first_token + base + token < params.m && inside",
     "inside", kPlain},
    {"stores single tokens beyond M", "store_tile.cuh", "token >= params.m || at >= kN", "at >= kN",
     kPlain},
    {"stores rows beyond N", "store_tile.cuh", "const bool inside = row + lane % 2 * 8 < kN;",
     "const bool inside = true;", kPlain},
    {"stores rows beyond N behind a reduction",
     "epilogue.cuh",
     "kN - row < kRowsPerThread ? kN - row : kRowsPerThread",
     "kRowsPerThread",
     {"family=wgmma,act=bf16,warps_n=4,warps_k=1,cluster_k=2,pdl=1", 109, 256, 8}},
    {"no warp barrier before the patch is written again", "store_tile.cuh",
     "warp_sync();  // the patch has been read", "", kFours},
    {"no warp barrier before the patch is read", "store_tile.cuh",
     "      warp_sync();\n#pragma unroll\n      for (int pass",
     "#pragma unroll\n      for (int pass", kPlain},
    {"bias of the wrong half", "store_tile.cuh", "bias[i % 2]),\n", "bias[0]),\n", kPlain},
    {"multiplies the other group's k tile", "gemm_wgmma.cuh", "* kConfig.warps_k + group();",
     "* kConfig.warps_k;", kGroups},
    {"no barrier before the sums of two groups are read", "gemm_wgmma.cuh",
     "      named_barrier_sync(1, warps(kConfig) * kWarpThreads);\n", "", kGroups},
    {"wrong scale group between k32 halves", "gemm_wgmma.cuh", "words.scales.x[s / 2]",
     "words.scales.x[0]", kPlain},
};

}  // namespace

TEST_SUITE("mutants_wgmma") {
  TEST_CASE("the unchanged templates pass the gate under every config that a mutant uses") {
    MutantBench bench;
    for (const Case& on : {kPlain, kPairs, kFours, kSplit, kGroups, kWide, kReuse}) {
      CAPTURE(on.config);
      CHECK(bench.judge(on, template_files()) == "passed");
    }
  }

  TEST_CASE("the unchanged templates pass the gate for narrow and wide tiles, odd N, K and M") {
    MutantBench bench;
    for (const Case& on : kOthers) {
      CAPTURE(on.config);
      CHECK(bench.judge(on, template_files()) == "passed");
    }
  }

  TEST_CASE("no mutant of the templates lives") {
    MutantBench bench;
    for (const Mutant& mutant : kMutants) {
      std::string storage;
      const std::string outcome = bench.judge(mutant.on, mutate(mutant, storage));
      MESSAGE(mutant.name << " -> " << outcome.substr(0, 260));
      CHECK_MESSAGE(outcome != "passed", "lives: " << mutant.name);
    }
  }
}
