// SPDX-License-Identifier: Apache-2.0
// Whatever the order in which CTAs run, the bits are the same: on random data, where a sum in
// another order, or an output that two CTAs compute differently, shows. The emulated device runs
// CTAs in the order that a seed names.
#include <doctest/doctest.h>

#include "tests/emulated_gpu.h"
#include "tests/honesty.h"

using namespace nvfp4;

TEST_SUITE("cta_order") {
  TEST_CASE("no order of CTAs changes a bit of the output") {
    const struct {
      const char* config;
      int64_t n, k, m;
    } rows[] = {
        {"family=mma,act=bf16,block_n=32,block_m=8,warps_k=2,schedule=split_k,split_k=3", 96, 896,
         7},
        {"family=mma,act=bf16,block_n=32,block_m=8,warps_k=1,schedule=stream_k", 1120, 640, 21},
        {"family=wgmma,act=bf16,warps_n=4,warps_k=1,cluster_k=3,pdl=1", 136, 656, 13},
        // Two tiles of tokens that overlap, and two that must not.
        {"family=wgmma,act=bf16,warps_n=4,warps_k=1,pdl=1", 4800, 320, 21},
        {"family=wgmma,act=bf16,warps_n=4,warps_k=1,schedule=stream_k,pdl=1", 4800, 320, 21},
    };
    EmulatedGpu emulated;
    const auto seed = emulated.call<decltype(&nvfp4_emulator_seed)>("nvfp4_emulator_seed");
    const Compiler compiler = Compiler::open();
    for (const auto& row : rows) {
      CAPTURE(row.config);
      const std::optional<KernelConfig> config = parse_config(row.config);
      REQUIRE(config);
      const honesty::Pair pair{
          .config = *config, .n = row.n, .k = row.k, .m = row.m, .out_type = OutputType::fp32};
      const Compilation compiled =
          honesty::compile(compiler, {pair}, emulated.gpu.facts().arch, 1).front();
      std::string first;
      for (const uint64_t order : {0, 1, 2, 3}) {
        CAPTURE(order);
        seed(order);
        bool ok = false;
        const std::string digest =
            honesty::output_digest(emulated.gpu, compiled, pair, ok, GateKind::random);
        CHECK(ok);
        if (order == 0) first = digest;
        CHECK(digest == first);
      }
    }
    seed(0);
  }
}
