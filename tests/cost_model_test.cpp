// SPDX-License-Identifier: Apache-2.0
#include "generator/cost_model.h"

#include <doctest/doctest.h>

#include <cmath>

#include "generator/candidate_space.h"
#include "generator/config_text.h"
#include "generator/crowding.h"

using namespace nvfp4;

namespace {

const Device& h100() { return find_part("h100")->device; }

Problem shape(int64_t n, int64_t k, const Device& device) {
  return {.n = n, .k = k, .arch = device.arch};
}

double us_of(const char* config, int64_t n, int64_t k, int64_t m, const Device& device = h100()) {
  return estimate(parse_config(config).value(), shape(n, k, device), m, device).seconds * 1e6;
}

}  // namespace

TEST_SUITE("cost_model") {
  TEST_CASE("no prediction beats the roofline of the data sheet") {
    for (const KnownPart& part : known_parts()) {
      for (const int64_t m : {1, 16, 64, 1024}) {
        const Problem problem = shape(8192, 4096, part.device);
        for (const KernelConfig& c : candidates(problem, m, part.device)) {
          CHECK(estimate(c, problem, m, part.device).seconds >
                roofline_seconds(problem, m, part.device));
        }
      }
    }
  }

  TEST_CASE("every prediction is a positive number, whatever the shape") {
    const int64_t shapes[][2] = {{1, 16}, {64, 64}, {100, 4096}, {4096, 48}, {200000, 512}};
    for (const KnownPart& part : known_parts()) {
      for (const auto& [n, k] : shapes) {
        for (const Activation act : {Activation::bf16, Activation::fp16}) {
          Problem problem = shape(n, k, part.device);
          problem.act = act;
          for (const int64_t m : {int64_t{1}, int64_t{77}, kMaxM}) {
            const KernelConfig c = default_config(problem, m, part.device);
            const double seconds = estimate(c, problem, m, part.device).seconds;
            CHECK(std::isfinite(seconds));
            CHECK(seconds > 0);
          }
        }
      }
    }
  }

  TEST_CASE("a grouped launch costs what the product of its busy experts costs") {
    const Problem grouped{
        .kind = ProblemKind::grouped, .n = 2048, .k = 7168, .arch = h100().arch, .experts = 8};
    for (const int64_t m : {1, 5, 64}) {
      const DenseProduct product = dense_product(grouped, m);
      const KernelConfig c = default_config(grouped, m, h100());
      CHECK(estimate(c, grouped, m, h100()).seconds ==
            estimate(c, product.problem, product.m, h100()).seconds);
    }
  }

  TEST_CASE("faster memory or a faster clock never makes a prediction slower") {
    Device memory = h100();
    memory.memory_bandwidth *= 1.43;
    Device clock = h100();
    clock.clock_hz *= 1.2;
    clock.tensor_flops *= 1.2;
    for (const int64_t m : {1, 64, 1024}) {
      const Problem problem = shape(5376, 8192, h100());
      for (const KernelConfig& c : candidates(problem, m, h100())) {
        const double seconds = estimate(c, problem, m, h100()).seconds;
        CHECK(estimate(c, problem, m, memory).seconds <= seconds);
        CHECK(estimate(c, problem, m, clock).seconds < seconds);
      }
    }
  }

  TEST_CASE("decoding to fp16 costs more than to bf16 where decoding is all that counts") {
    const KernelConfig bf16 = default_config(shape(5376, 8192, h100()), 32, h100());
    KernelConfig fp16 = bf16;
    fp16.act = Activation::fp16;
    const Problem problem = shape(5376, 8192, h100());
    REQUIRE(estimate(bf16, problem, 32, h100()).bound == "issue");
    CHECK(estimate(fp16, problem, 32, h100()).seconds >
          estimate(bf16, problem, 32, h100()).seconds);
  }

  TEST_CASE("CTAs crowd where SMs have more room than they need") {
    const double sms = h100().sm_count;
    CHECK(crowding(sms, 1, h100()) == 1);
    CHECK(crowding(2 * sms, 2, h100()) == 1);
    CHECK(crowding(sms, 2, h100()) == 1 + kCrowding);
    CHECK(crowding(2 * sms - 1, 4, h100()) == 1 + kCrowding);
    CHECK(crowding(sms, 3, h100()) > crowding(sms, 2, h100()));
    CHECK(crowding(sms / 2, 2, h100()) == 1 + kCrowding);
    CHECK(crowding(3 * sms, 2, h100()) == 1);  // rounds
  }

  TEST_CASE("few CTAs of mma settle apart whatever room there is, those of wgmma crowd") {
    // 60 CTAs each. An SM has room for two of the first, four of the second.
    const double deep = us_of(
        "family=mma,act=bf16,block_n=16,block_m=8,warps_k=6,num_stages=8,pdl=1", 960, 4096, 1);
    const double roomy = us_of(
        "family=mma,act=bf16,block_n=16,block_m=8,warps_k=6,num_stages=5,pdl=1", 960, 4096, 1);
    CHECK(roomy < 1.05 * deep);
    const char* const alone =
        "family=wgmma,act=bf16,block_m=32,block_k=256,warps_n=4,warps_k=1,num_stages=4,pdl=1";
    const char* const crowded =
        "family=wgmma,act=bf16,block_m=32,block_k=256,warps_n=4,warps_k=1,num_stages=4,"
        "ctas_per_sm=2,pdl=1";
    CHECK(us_of(crowded, 3840, 4096, 32) > 1.1 * us_of(alone, 3840, 4096, 32));
  }

  // H100 80GB HBM3 and, where said, H200, driver 580.159.04, 2026-11-28, cold, graph+pdl.
  TEST_CASE("a shallow pipeline that lets CTAs crowd is slower than a deep one that does not") {
    // 5.3, 7.4 and 9.5 us: an SM holds two, four and five of the CTAs of which it needs two.
    const std::string config =
        "family=mma,act=bf16,block_n=16,block_m=8,warps_k=6,num_stages=8,pdl=1";
    const double deep = us_of(config.c_str(), 4096, 4096, 1);
    const double crowded = us_of(
        "family=mma,act=bf16,block_n=16,block_m=8,warps_k=6,num_stages=5,pdl=1", 4096, 4096, 1);
    const double more =
        us_of("family=mma,act=bf16,block_n=16,block_m=8,warps_k=6,pdl=1", 4096, 4096, 1);
    CHECK(crowded > 1.25 * deep);
    CHECK(more > crowded);
    // Launches that do not overlap do not crowd: nothing between the three but the pipeline.
    CHECK(us_of("family=mma,act=bf16,block_n=16,block_m=8,warps_k=6", 4096, 4096, 1) < more);
  }

  TEST_CASE("six warps take a scheduler as long as eight") {
    // 12.7 and 14.7 us
    const double eight = us_of(
        "family=mma,act=bf16,block_n=128,block_m=8,block_k=128,warps_n=2,pdl=1", 15360, 3840, 1);
    const double six = us_of(
        "family=mma,act=bf16,block_n=128,block_m=8,block_k=128,warps_n=2,warps_k=3,"
        "num_stages=4,pdl=1",
        15360, 3840, 1);
    CHECK(six > 1.1 * eight);
  }

  TEST_CASE("the last of forty clusters of three runs alone") {
    // H200: 36.7 and 20.3 us
    const Device& h200 = find_part("h200")->device;
    const double three = us_of(
        "family=wgmma,act=bf16,block_n=256,block_m=32,block_k=256,warps_n=16,warps_k=1,"
        "cluster_k=3,pdl=1",
        10240, 8192, 32, h200);
    const double two = us_of(
        "family=wgmma,act=bf16,block_n=192,block_m=32,block_k=256,warps_n=12,warps_k=1,"
        "num_stages=4,cluster_k=2,pdl=1",
        10240, 8192, 32, h200);
    CHECK(three > 1.5 * two);
  }

  TEST_CASE("stream-K reads activations again that L2 cannot hold") {
    // 956 and 621 us, of 88 MB of activations
    const double shared = us_of(
        "family=wgmma,act=bf16,block_n=128,block_m=256,warps_n=8,warps_k=1,num_stages=5,"
        "schedule=stream_k,pdl=1",
        5376, 21504, 2048);
    const double whole = us_of(
        "family=wgmma,act=bf16,block_n=128,block_m=176,block_k=128,warps_n=8,warps_k=1,"
        "num_stages=4,pdl=1",
        5376, 21504, 2048);
    CHECK(shared > 1.3 * whole);
  }

  TEST_CASE("faster memory makes a memory-bound prediction faster") {
    Device fast = h100();
    fast.memory_bandwidth *= 1.4;
    const Problem problem = shape(28672, 8192, h100());
    const KernelConfig c = default_config(problem, 1, h100());
    CHECK(estimate(c, problem, 1, h100()).bound == "memory");
    CHECK(estimate(c, problem, 1, fast).seconds < 0.85 * estimate(c, problem, 1, h100()).seconds);
  }

  TEST_CASE(
      "where mma.sync is the only way to the tensor cores it gets more than half of their peak") {
    const Device& a100 = find_part("a100")->device;
    const Problem problem = shape(8192, 8192, a100);
    const CostEstimate best = estimate(default_config(problem, 1024, a100), problem, 1024, a100);
    CHECK(best.bound == "tensor");
    CHECK(best.seconds < 2 * roofline_seconds(problem, 1024, a100));
  }

  TEST_CASE("measured H100 times are met within a factor of 1.15") {
    // us with PDL, H100 80GB HBM3, driver 580, 2026-11-23, cold weights (lab sweep of the
    // templates)
    const struct {
      int n, k, m;
      KernelConfig c;
      double us;
    } rows[] = {
        {15360,
         3840,
         1,
         {.block_n = 64, .block_m = 8, .warps_n = 2, .num_stages = 8, .pdl = true},
         11.7},
        {21504, 5376, 16, {.block_n = 96, .warps_n = 2, .ctas_per_sm = 2, .pdl = true}, 25.7},
        {28672,
         8192,
         64,
         {.block_n = 256, .block_m = 64, .warps_n = 4, .warps_k = 2, .pdl = true},
         94.9},
        {4096,
         4096,
         8,
         {.block_n = 32, .block_m = 8, .warps_k = 8, .num_stages = 7, .pdl = true},
         5.5},
        // 2026-11-27, from the tuner and the sweep that the wgmma model was fitted to
        {15360,
         3840,
         64,
         {.family = Family::wgmma,
          .block_n = 128,
          .block_m = 64,
          .block_k = 256,
          .warps_n = 8,
          .warps_k = 1,
          .num_stages = 4,
          .cluster_n = 1,
          .cluster_k = 1,
          .pdl = true},
         17.1},
        {4096,
         4096,
         64,
         {.family = Family::wgmma,
          .block_n = 64,
          .block_m = 64,
          .block_k = 256,
          .warps_n = 4,
          .warps_k = 1,
          .num_stages = 4,
          .cluster_n = 1,
          .cluster_k = 2,
          .pdl = true},
         6.9},
        {5376,
         21504,
         32,
         {.family = Family::wgmma,
          .block_n = 192,
          .block_m = 32,
          .block_k = 256,
          .warps_n = 12,
          .warps_k = 1,
          .num_stages = 4,
          .cluster_n = 1,
          .cluster_k = 4,
          .pdl = true},
         26.6},
        {28672,
         8192,
         1024,
         {.family = Family::wgmma,
          .block_n = 128,
          .block_m = 256,
          .block_k = 64,
          .warps_n = 8,
          .warps_k = 1,
          .num_stages = 5,
          .cluster_n = 2,
          .cluster_k = 1,
          .pdl = true},
         621.1},
        {21504,
         5376,
         128,
         {.family = Family::wgmma,
          .block_n = 192,
          .block_m = 128,
          .block_k = 128,
          .warps_n = 12,
          .warps_k = 1,
          .num_stages = 4,
          .cluster_n = 1,
          .cluster_k = 1,
          .pdl = true},
         45.8},
    };
    for (const auto& row : rows) {
      const double us = estimate(row.c, shape(row.n, row.k, h100()), row.m, h100()).seconds * 1e6;
      CAPTURE(us);
      CAPTURE(row.us);
      CHECK(us < row.us * 1.15);
      CHECK(us > row.us / 1.15);
    }
  }
}
