// SPDX-License-Identifier: Apache-2.0
#include "generator/legality.h"

#include <doctest/doctest.h>

#include <iterator>
#include <random>

using namespace nvfp4;

namespace {

const Device& h100() { return find_part("h100")->device; }
const Device& l40s() { return find_part("l40s")->device; }

}  // namespace

TEST_SUITE("legality") {
  TEST_CASE("an illegal config is refused with the thing and both numbers") {
    const auto reason = [](const KernelConfig& c, const Device& d) {
      return illegal_reason(c, d).value_or("legal");
    };
    CHECK(reason({}, h100()) == "legal");
    CHECK(reason({.block_n = 272}, h100()) == "block_n = 272 is outside 16..256");
    CHECK(reason({.block_n = 40}, h100()) == "block_n = 40 is not a multiple of 16");
    CHECK(reason({.block_n = 48, .warps_n = 2}, h100()) == "block_n = 48 is not a multiple of 32");
    CHECK(reason({.block_m = 12}, h100()) == "block_m = 12 is not a multiple of 8");
    CHECK(reason({.block_k = 96}, h100()) == "block_k = 96 is not a multiple of 64");
    CHECK(reason({.num_stages = 1}, h100()) == "num_stages = 1 is outside 2..8");
    CHECK(reason({.split_k = 2}, h100()) == "split_k = 2 does not go with schedule data_parallel");
    CHECK(reason({.schedule = Schedule::split_k}, h100()) ==
          "split_k = 1 does not go with schedule split_k");
    CHECK(reason({.cluster_n = 2}, h100()) == "family mma has no clusters");
    CHECK(reason({.warps_n = 2, .warps_k = 16}, h100()) ==
          "warps_k = 16 groups exceed 15 named barriers");
    CHECK(reason({.pdl = true}, l40s()) == "pdl needs sm_90, the device is sm_89");
    CHECK(reason({.block_n = 256, .warps_k = 4, .num_stages = 4}, l40s()) ==
          "shared memory 180224 exceeds 101376 for sm_89");
    CHECK(reason({.block_n = 256, .block_m = 64, .warps_k = 2, .num_stages = 2}, h100()) ==
          "about 722 registers a thread exceed 255");
    CHECK(reason({.block_n = 128, .num_stages = 6, .ctas_per_sm = 2}, h100()) ==
          "ctas_per_sm = 2 exceeds the 1 that fit sm_90a");
  }

  TEST_CASE("no field value makes the legality check itself fail") {
    std::mt19937 random(7);
    const int extremes[] = {-2147483647 - 1, -1, 0, 1, 2, 8, 16, 64, 255, 256, 1 << 20, 2147483647};
    const auto pick = [&] { return extremes[random() % std::size(extremes)]; };
    int refused = 0;
    for (int i = 0; i < 20000; ++i) {
      const KernelConfig c{.block_n = pick(),
                           .block_m = pick(),
                           .block_k = pick(),
                           .warps_n = pick(),
                           .warps_k = pick(),
                           .num_stages = pick(),
                           .schedule = Schedule(random() % 3),
                           .split_k = pick(),
                           .ctas_per_sm = pick(),
                           .cluster_n = pick(),
                           .cluster_k = pick()};
      refused += illegal_reason(c, h100()).has_value();
    }
    CHECK(refused > 19000);
  }
}
