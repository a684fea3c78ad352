// SPDX-License-Identifier: Apache-2.0
#include "generator/cost_model.h"

#include <doctest/doctest.h>

#include "generator/candidate_space.h"

using namespace nvfp4;

namespace {

const Device& h100() { return find_part("h100")->device; }

Problem shape(int64_t n, int64_t k, const Device& device) {
  return {.n = n, .k = k, .arch = device.arch};
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

  TEST_CASE("faster memory makes a memory-bound prediction faster") {
    Device fast = h100();
    fast.memory_bandwidth *= 1.4;
    const Problem problem = shape(28672, 8192, h100());
    const KernelConfig c = default_config(problem, 1, h100());
    CHECK(estimate(c, problem, 1, h100()).bound == "memory");
    CHECK(estimate(c, problem, 1, fast).seconds < 0.85 * estimate(c, problem, 1, h100()).seconds);
  }

  TEST_CASE("where mma.sync is the only way to the tensor cores it gets more than half of their peak") {
    const Device& a100 = find_part("a100")->device;
    const Problem problem = shape(8192, 8192, a100);
    const CostEstimate best = estimate(default_config(problem, 1024, a100), problem, 1024, a100);
    CHECK(best.bound == "tensor");
    CHECK(best.seconds < 2 * roofline_seconds(problem, 1024, a100));
  }

  TEST_CASE("measured H100 times are met within a factor of 1.35") {
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
      CHECK(us < row.us * 1.35);
      CHECK(us > row.us / 1.35);
    }
  }
}
