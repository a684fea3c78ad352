// SPDX-License-Identifier: Apache-2.0
#include "generator/candidate_space.h"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <tuple>

#include "generator/config_text.h"
#include "generator/cost_model.h"
#include "generator/legality.h"

using namespace nvfp4;

namespace {

const Device& h100() { return find_part("h100")->device; }

Problem shape(int64_t n, int64_t k, const Device& device, Activation act = Activation::bf16) {
  return {.n = n, .k = k, .act = act, .arch = device.arch};
}

}  // namespace

TEST_SUITE("candidate_space") {
  TEST_CASE("no candidate is enumerated twice, whatever the problem and M") {
    for (const char* part : {"a100", "h100", "rtx4090"}) {
      const Device& device = find_part(part)->device;
      for (const int64_t experts : {0, 1, 8, 128}) {
        for (const auto& [n, k] : {std::pair{64, 64}, {1536, 2048}, {4100, 4096}, {21504, 5376}}) {
          Problem problem = shape(n, k, device);
          problem.kind = experts > 0 ? ProblemKind::grouped : ProblemKind::dense;
          problem.experts = experts;
          for (const int64_t m : {1, 8, 24, 100, 512, 4096}) {
            CAPTURE(key_text(problem));
            CAPTURE(m);
            std::set<std::string> seen;
            int twice = 0;
            for (const KernelConfig& config : candidates(problem, m, device)) {
              twice += !seen.insert(config_text(config)).second;
            }
            CHECK(twice == 0);
          }
        }
      }
    }
  }

  TEST_CASE("every candidate is legal and ordered by prediction") {
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
        double last = 0;
        for (const KernelConfig& c : list) {
          CHECK_FALSE(illegal_reason(c, part.device));
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
