// SPDX-License-Identifier: Apache-2.0
// The tests against closed forms, published critical values and counts of every arrangement.
#include "tuner/significance.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

using namespace nvfp4;
using Samples = std::vector<float>;

namespace {

// The share of all ways to deal n + m distinct values whose U is at least as far from its mean.
double exact_mann_whitney(int n, int m, double u) {
  // ways[i][s]: subsets of i ranks so far with rank sum s.
  const int largest = (n + m) * (n + m + 1) / 2;
  std::vector<std::vector<double>> ways(n + 1, std::vector<double>(largest + 1));
  ways[0][0] = 1;
  for (int rank = 1; rank <= n + m; ++rank) {
    for (int i = n; i >= 1; --i) {
      for (int s = largest; s >= rank; --s) ways[i][s] += ways[i - 1][s - rank];
    }
  }
  double all = 0;
  double far = 0;
  for (int s = 0; s <= largest; ++s) {
    all += ways[n][s];
    const double other = s - n * (n + 1) / 2.0;
    if (std::abs(other - n * m / 2.0) >= std::abs(u - n * m / 2.0)) far += ways[n][s];
  }
  return far / all;
}

}  // namespace

TEST_SUITE("significance") {
  TEST_CASE("one and two degrees of freedom have closed forms, and they are met") {
    for (double t : {0.0, 0.1, 1.0, 2.5, 12.0}) {
      CHECK(student_p(t, 1) == doctest::Approx(1 - 2 / std::numbers::pi * std::atan(t)));
      CHECK(student_p(t, 2) == doctest::Approx(1 - t / std::sqrt(2 + t * t)).epsilon(1e-9));
      CHECK(student_p(-t, 7) == student_p(t, 7));
    }
  }

  TEST_CASE("critical values of the printed tables") {
    CHECK(student_p(4.032143, 5) == doctest::Approx(0.01).epsilon(1e-5));
    CHECK(student_p(2.228139, 10) == doctest::Approx(0.05).epsilon(1e-5));
    CHECK(student_p(3.673906, 28) == doctest::Approx(0.001).epsilon(1e-5));
    CHECK(student_p(1.959964, 2'000'000) == doctest::Approx(0.05).epsilon(1e-4));
    CHECK(student_p(INFINITY, 3) == 0);
    CHECK(student_p(0, 3) == 1);
  }

  TEST_CASE("ranks alone decide, and the approximation is near the count of every arrangement") {
    // b's ranks 3, 5 and 8 .. 13 of 16: U = 29 for a.
    Samples a, b;
    for (int rank = 1; rank <= 16; ++rank) {
      const bool in_b = rank == 3 || rank == 5 || (rank >= 8 && rank <= 13);
      (in_b ? b : a).push_back(static_cast<float>(rank));
    }
    const double p = mann_whitney_p(a, b);
    CHECK(p == mann_whitney_p(b, a));
    CHECK(p == doctest::Approx(exact_mann_whitney(8, 8, 29)).epsilon(0.03));
    for (float& value : a) value = value * value;
    for (float& value : b) value = value * value;
    CHECK(mann_whitney_p(a, b) == p);
  }

  TEST_CASE("samples that do not overlap are significant at 8 a side, equal ones never") {
    Samples low, high;
    for (int i = 0; i < 8; ++i) {
      low.push_back(1 + 0.01f * static_cast<float>(i));
      high.push_back(2 + 0.01f * static_cast<float>(i));
    }
    CHECK(mann_whitney_p(low, high) < 0.001);
    CHECK(mann_whitney_p(low, low) == 1);
    CHECK(mann_whitney_p(Samples(8, 3), Samples(8, 3)) == 1);
  }

  TEST_CASE("false discoveries are controlled as in the paper's own example") {
    // Benjamini and Hochberg 1995, section 4.1: 15 tests, rate 0.05, the first four are believed.
    const std::vector<double> p = {0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344,
                                   0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000};
    const std::vector<bool> believed = discoveries(p, p.size(), 0.05);
    CHECK(std::count(believed.begin(), believed.end(), true) == 4);
    CHECK(believed[3]);
    // The same in any order; and tests that found nothing count.
    const std::vector<double> reversed(p.rbegin(), p.rend());
    CHECK(discoveries(reversed, p.size(), 0.05)[11]);
    const std::vector<bool> strict = discoveries(p, 1000, 0.05);
    CHECK(std::count(strict.begin(), strict.end(), true) == 0);
    CHECK(discoveries({}, 5, 0.05).empty());
  }

  TEST_CASE("a value that fails its own limit is believed below one that meets it") {
    const std::vector<bool> believed = discoveries(std::vector<double>{0.04, 0.045}, 2, 0.05);
    CHECK(believed == std::vector<bool>{true, true});
  }
}
