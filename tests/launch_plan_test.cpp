// SPDX-License-Identifier: Apache-2.0
#include "generator/launch_plan.h"

#include <doctest/doctest.h>

using namespace nvfp4;

namespace {

const Device& h100() { return find_part("h100")->device; }

Problem shape(int64_t n, int64_t k, const Device& device) {
  return {.n = n, .k = k, .arch = device.arch};
}

}  // namespace

TEST_SUITE("launch_plan") {
  TEST_CASE("a data-parallel grid has one CTA a tile and needs no workspace") {
    const LaunchPlan plan = launch_plan({.block_n = 128}, shape(15360, 3840, h100()), 33, h100());
    CHECK(plan.tiles_n == 120);
    CHECK(plan.tiles_m == 3);
    CHECK(plan.grid == 360);
    CHECK(plan.workspace_bytes == 0);
  }

  TEST_CASE("split-K holds one partial a CTA behind the counters") {
    const KernelConfig c{.block_n = 128, .schedule = Schedule::split_k, .split_k = 3};
    const LaunchPlan plan = launch_plan(c, shape(1000, 4096, h100()), 16, h100());
    CHECK(plan.grid == 24);
    CHECK(plan.counter_bytes == 256);
    CHECK(plan.workspace_bytes == 256 + 24 * 128 * 16 * 4);
  }

  TEST_CASE("stream-K never starts more CTAs than there are steps") {
    const KernelConfig c{.block_n = 64, .schedule = Schedule::stream_k, .ctas_per_sm = 2};
    CHECK(launch_plan(c, shape(64, 128, h100()), 1, h100()).grid == 2);
    CHECK(launch_plan(c, shape(8192, 8192, h100()), 1, h100()).grid == 264);
  }

  TEST_CASE("a million tokens stay inside 64 bits") {
    const LaunchPlan plan =
        launch_plan({.block_n = 16, .block_m = 8}, shape(kMaxDimension, 16, h100()), kMaxM, h100());
    CHECK(plan.grid == (int64_t{kMaxDimension} / 16) * (kMaxM / 8));
  }
}
