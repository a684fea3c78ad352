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

}  // namespace

TEST_SUITE("mutants_wgmma") {
  TEST_CASE("the unchanged templates pass the gate under every config that a mutant uses") {
    MutantBench bench;
    for (const Case& on : {kPlain, kPairs, kFours, kSplit, kGroups, kWide}) {
      CAPTURE(on.config);
      CHECK(bench.judge(on, template_files()) == "passed");
    }
  }
}
