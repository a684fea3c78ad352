// SPDX-License-Identifier: Apache-2.0
// Shares of the work: disjoint, complete, the same everywhere, and about equal.
#include "tuner/model_plan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "generator/device.h"

using namespace nvfp4;

namespace {

Device emulated_h100() {
  Device device = find_part("h100")->device;
  device.emulated = true;
  return device;
}

TuneRequest request_of(const Device& device) {
  return {.problem = {.arch = device.arch},
          .tokens = {1, 16, 64},
          .policies = {Policy::graph, Policy::graph_pdl},
          .configs = {},
          .command = "c"};
}

std::vector<ModelShape> small_shapes() {
  std::vector<ModelShape> shapes;
  for (int64_t n = 1; n <= 10; ++n) {
    shapes.push_back({.n = 64 * n, .k = 64, .uses = {{.launches = n}}});
  }
  return shapes;
}

}  // namespace

TEST_SUITE("model_plan") {
  TEST_CASE("shares cover everything once and differ by at most one thing") {
    std::mt19937 random(7);
    for (int round = 0; round < 200; ++round) {
      std::vector<double> costs(random() % 50);
      for (double& cost : costs) cost = static_cast<double>(random() % 1000) / 10;
      const int count = 1 + static_cast<int>(random() % 9);
      std::vector<size_t> all;
      std::vector<double> loads;
      for (int i = 1; i <= count; ++i) {
        const std::vector<size_t> share = share_of(costs, {i, count});
        CHECK(std::is_sorted(share.begin(), share.end()));
        CHECK(share == share_of(costs, {i, count}));
        all.insert(all.end(), share.begin(), share.end());
        loads.push_back(0);
        for (const size_t index : share) loads.back() += costs[index];
      }
      std::sort(all.begin(), all.end());
      std::vector<size_t> expected(costs.size());
      std::iota(expected.begin(), expected.end(), 0);
      CHECK(all == expected);
      const auto [least, most] = std::minmax_element(loads.begin(), loads.end());
      const double largest =
          costs.empty() ? 0 : *std::max_element(costs.begin(), costs.end());
      CHECK(*most - *least <= largest + 1e-9);
    }
    CHECK(share_of(std::vector<double>{1, 1}, {3, 3}).empty());
  }

  TEST_CASE("shards of a plan are the plan, whatever each database knows") {
    const Device device = emulated_h100();
    const TuneRequest request = request_of(device);
    TuningDb database("", Access::memory);
    const std::vector<ModelShape> shapes = small_shapes();
    std::multiset<int64_t> rows;
    double seconds = 0;
    for (int i = 1; i <= 4; ++i) {
      const ModelPlan plan = make_model_plan(shapes, request, device, {}, database, {i, 4});
      CHECK(plan.all_shapes == 10);
      CHECK(plan.shapes.size() >= 2);
      for (const PlannedShape& planned : plan.shapes) {
        rows.insert(planned.shape.n);
        CHECK(planned.wanted == 6);
        CHECK(planned.known == 0);
      }
      seconds += plan.seconds;
    }
    CHECK(rows.size() == 10);
    CHECK(std::set<int64_t>(rows.begin(), rows.end()).size() == 10);
    const ModelPlan whole = make_model_plan(shapes, request, device, {}, database, {});
    CHECK(whole.seconds == doctest::Approx(seconds));
  }

  TEST_CASE("more token counts, more effort and more finals take longer") {
    Device device = emulated_h100();
    TuneRequest request = request_of(device);
    const ModelShape shape = small_shapes().front();
    for (const bool emulated : {true, false}) {
      device.emulated = emulated;
      request.effort = Effort::quick;
      request.tokens = {1};
      const double one = estimated_seconds(shape, request, device);
      request.tokens = {1, 2, 4};
      const double three = estimated_seconds(shape, request, device);
      request.effort = Effort::full;
      CHECK(one > 0);
      CHECK(three > one);
      CHECK(estimated_seconds(shape, request, device) > three);
    }
  }
}
