// SPDX-License-Identifier: Apache-2.0
// The suite's shapes and token counts, which are named in published tables and so may not drift.
#include "tuner/suite.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "generator/problem.h"

using namespace nvfp4;

TEST_SUITE("suite") {
  TEST_CASE("ten shapes that the product runs, up projections and their transposes") {
    CHECK(suite_shapes().size() == 10);
    CHECK(suite_shapes().front() == Shape{4096, 4096});
    CHECK(suite_shapes().back() == Shape{8192, 28672});
    for (const Shape& shape : suite_shapes()) {
      CHECK_FALSE(shape_error(shape.n, shape.k).has_value());
      CHECK(std::count(suite_shapes().begin(), suite_shapes().end(), shape) == 1);
    }
  }

  TEST_CASE("decode and prefill together are all, ascending") {
    CHECK(suite_tokens(Suite::decode) == std::vector<int64_t>{1, 8, 16, 32, 64});
    CHECK(suite_tokens(Suite::prefill) == std::vector<int64_t>{128, 256, 482, 1024, 4096});
    CHECK(suite_tokens(Suite::all).size() == 10);
    CHECK(std::ranges::is_sorted(suite_tokens(Suite::all)));
  }

  TEST_CASE("a suite has one spelling") {
    CHECK(parse_suite("decode") == Suite::decode);
    CHECK(parse_suite("prefill") == Suite::prefill);
    CHECK(parse_suite("all") == Suite::all);
    for (const char* text : {"", "Decode", "decode ", "none"}) CHECK_FALSE(parse_suite(text));
  }
}
