// SPDX-License-Identifier: Apache-2.0
#include "generator/candidate_space.h"

#include <doctest/doctest.h>

#include <random>
#include <set>

#include "generator/config_text.h"
#include "generator/cost_model.h"

using namespace nvfp4;

namespace {

const Device& h100() { return find_part("h100")->device; }
const Device& l40s() { return find_part("l40s")->device; }

Problem shape(int64_t n, int64_t k, const Device& device, Activation act = Activation::bf16) {
  return {.n = n, .k = k, .act = act, .arch = device.arch};
}

}  // namespace

TEST_SUITE("candidate_space") {
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

  TEST_CASE("every candidate is legal, listed once, and ordered by prediction") {
    for (const KnownPart& part : known_parts()) {
      for (const auto& [n, k, m] : {std::tuple<int, int, int>{4096, 4096, 64},
                                    {21504, 5376, 1},
                                    {7, 48, 3},
                                    {1, 16, 1},
                                    {28672, 8192, 4096},
                                    {4000, 80, 33}}) {
        CAPTURE(part.id);
        CAPTURE(n);
        const Problem problem = shape(n, k, part.device);
        const auto list = candidates(problem, m, part.device);
        REQUIRE_FALSE(list.empty());
        std::set<std::string> seen;
        double last = 0;
        for (const KernelConfig& c : list) {
          CHECK_FALSE(illegal_reason(c, part.device));
          CHECK(seen.insert(config_text(c)).second);
          const double seconds = estimate(c, problem, m, part.device).seconds;
          CHECK(seconds >= last);
          last = seconds;
        }
        CHECK(default_config(problem, m, part.device) == list.front());
      }
    }
  }

  TEST_CASE(
      "a decode shape on an H100 has at least 200 candidates, all three schedules among them") {
    const auto list = candidates(shape(5376, 21504, h100()), 32, h100());
    CHECK(list.size() >= 200);
    std::set<Schedule> schedules;
    for (const KernelConfig& c : list) schedules.insert(c.schedule);
    CHECK(schedules.size() == 3);
  }

  TEST_CASE("tile heights follow the device, not a list of shapes") {
    bool found = false;  // 21504 rows over 132 SMs: 163 rows each, so 176-row tiles fill one wave
    for (const KernelConfig& c : candidates(shape(21504, 5376, h100()), 1, h100()))
      found |= c.block_n == 176;
    CHECK(found);
  }
}
