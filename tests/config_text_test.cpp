// SPDX-License-Identifier: Apache-2.0
#include "generator/config_text.h"

#include <doctest/doctest.h>

#include <random>

using namespace nvfp4;

TEST_SUITE("config_text") {
  TEST_CASE("the default config prints its family and activation only") {
    CHECK(config_text({}) == "family=mma,act=bf16");
    CHECK(parse_config("family=mma,act=bf16") == KernelConfig{});
  }

  TEST_CASE("fields print in the order of the struct") {
    const KernelConfig c{.act = Activation::fp16,
                         .block_n = 176,
                         .warps_k = 8,
                         .schedule = Schedule::split_k,
                         .split_k = 2,
                         .pdl = true};
    CHECK(config_text(c) ==
          "family=mma,act=fp16,block_n=176,warps_k=8,schedule=split_k,split_k=2,pdl=1");
  }

  TEST_CASE("any config survives a round trip") {
    std::mt19937 random(1);
    const auto pick = [&](int n) { return static_cast<int>(random() % n); };
    for (int i = 0; i < 2000; ++i) {
      const KernelConfig c{.family = Family(pick(2)),
                           .act = Activation(pick(2)),
                           .block_n = pick(300),
                           .block_m = pick(300),
                           .block_k = pick(300),
                           .warps_n = pick(20),
                           .warps_k = pick(20),
                           .num_stages = pick(20),
                           .schedule = Schedule(pick(3)),
                           .split_k = pick(20),
                           .ctas_per_sm = pick(20),
                           .cluster_n = pick(20),
                           .cluster_k = pick(20),
                           .pdl = pick(2) == 1};
      REQUIRE(parse_config(config_text(c)) == c);
    }
  }

  TEST_CASE("a second spelling of a config does not parse") {
    for (const char* text :
         {"", "family=mma", "act=bf16,family=mma", "family=mma,act=bf16,",
          "family=mma,act=bf16,block_n=64", "family=mma,act=bf16,block_n=0128",
          "family=mma,act=bf16,block_n=+128", "family=mma,act=bf16,block_n= 128",
          "family=mma,act=bf16,block_n=128,block_n=128",
          "family=mma,act=bf16,warps_k=8,block_n=128", "family=mma,act=bf16,pdl=0",
          "family=mma,act=bf16,pdl=2", "family=mma,act=bf16,block_n=99999999999",
          "family=mma,act=bf16,colour=3", "family=MMA,act=bf16", "family=mma,act=bf16;block_n=128",
          "family=mma,act=bf16,block_n", "family=mma,act=bf16,=3"}) {
      CAPTURE(text);
      CHECK_FALSE(parse_config(text));
    }
    CHECK_FALSE(parse_config(std::string(100000, 'a')));
  }
}
