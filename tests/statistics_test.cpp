// SPDX-License-Identifier: Apache-2.0
// Order statistics, and the figures of a row that follow from them.
#include "tuner/statistics.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "tuner/rows.h"

using namespace nvfp4;
using Samples = std::vector<float>;

TEST_SUITE("statistics") {
  TEST_CASE("quartiles interpolate between order statistics, whatever the order") {
    const Quartiles q = quartiles(Samples{4, 1, 3, 2, 5});
    CHECK(q.q1 == 2);
    CHECK(q.median == 3);
    CHECK(q.q3 == 4);
    CHECK(quartiles(Samples{1, 2}).median == 1.5);
    CHECK(quartiles(Samples{7}).q3 == 7);
    CHECK(quartiles(Samples{}).median == 0);
  }

  TEST_CASE("one slow outlier moves neither the median nor the paired ratio") {
    const Samples steady = {10, 10, 10, 10, 10, 10, 10};
    const Samples jolted = {11, 11, 110, 11, 11, 11, 11};
    CHECK(quartiles(jolted).median == 11);
    CHECK(paired_ratio(jolted, steady) == doctest::Approx(1.1));
  }

  TEST_CASE("a drift that both kernels share cancels in the paired ratio") {
    Samples one, other;
    for (int i = 0; i < 20; ++i) {
      const float drift = 1.0f + 0.05f * static_cast<float>(i);
      one.push_back(10 * drift);
      other.push_back(10.1f * drift);
    }
    CHECK(paired_ratio(other, one) == doctest::Approx(1.01));
    CHECK(paired_uncertainty(other, one) < 1e-5);
  }

  TEST_CASE("few pairs say nothing, more pairs say more") {
    const Samples a = {1, 2, 3, 4};
    CHECK(std::isinf(paired_uncertainty(a, a)));
    Samples noisy, flat;
    for (int i = 0; i < 100; ++i) {
      noisy.push_back(i % 2 == 0 ? 1.0f : 1.1f);
      flat.push_back(1.0f);
    }
    const std::span<const float> n(noisy), f(flat);
    CHECK(paired_uncertainty(n.first(10), f.first(10)) > paired_uncertainty(n, f));
  }
}

TEST_SUITE("rows") {
  const Problem kProblem{.n = 4096, .k = 4096, .arch = {9, 0, true}};
  const Ceilings kCeilings{3.1e12, 4.7e-6, 758e12, false};

  TEST_CASE("the roofline is the read at small M and the matrix rate at large M") {
    CHECK(roofline_time(kProblem, 1, kCeilings) == 4.7e-6);
    CHECK(roofline_time(kProblem, 4096, kCeilings) ==
          doctest::Approx(2.0 * 4096 * 4096 * 4096 / 758e12));
  }

  TEST_CASE("every figure of a timing follows from its median") {
    const Timing t = timing_of({.policy = Policy::graph, .samples_us = {5, 4.7f, 4.6f}}, kProblem,
                               16, kCeilings);
    CHECK(t.median_us == doctest::Approx(4.7));
    CHECK(t.samples == 3);
    CHECK(t.f == doctest::Approx(1.0));
    CHECK(t.gbps == doctest::Approx(9437184 / 4.7e-6 / 1e9));
    CHECK(t.pct_ceiling == doctest::Approx(100 * t.gbps * 1e9 / 3.1e12));
    CHECK(t.tflops == doctest::Approx(2.0 * 16 * 4096 * 4096 / 4.7e-6 / 1e12));
    CHECK(t.q1_us <= t.median_us);
    CHECK(t.median_us <= t.q3_us);
  }

  TEST_CASE("a compilation that fails, spills or serialises is a fault with its reason") {
    CHECK_FALSE(compile_fault({.ok = true}).has_value());
    const auto broken = compile_fault({.log = "note\nkernel.cu(3): error: no such thing\nmore"});
    REQUIRE(broken.has_value());
    CHECK(broken->verdict == Verdict::compile_error);
    CHECK(broken->text == "kernel.cu(3): error: no such thing");
    CHECK(compile_fault({.log = ""})->verdict == Verdict::compile_error);
    const auto spilling = compile_fault({.ok = true, .resources = {.spill_store_bytes = 48}});
    REQUIRE(spilling.has_value());
    CHECK(spilling->verdict == Verdict::spill);
    CHECK(spilling->text.find("48") != std::string::npos);
  }
}
