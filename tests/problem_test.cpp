// SPDX-License-Identifier: Apache-2.0
#include "generator/problem.h"

#include <doctest/doctest.h>

using namespace nvfp4;

TEST_SUITE("problem") {
  TEST_CASE("a bad shape is named with the value and the limit") {
    CHECK(shape_error(0, 64) == "N = 0 is below 1");
    CHECK(shape_error(-1, 4096) == "N = -1 is below 1");
    CHECK(shape_error(64, 0) == "K = 0 is below 16");
    CHECK(shape_error(64, 100) == "K = 100 is not a multiple of 16");
    CHECK(shape_error(int64_t{1} << 31, int64_t{1} << 31) == "N = 2147483648 exceeds 4194304");
    CHECK(shape_error(64, int64_t{1} << 62) == "K = 4611686018427387904 exceeds 4194304");
    CHECK_FALSE(shape_error(1, 16));
    CHECK_FALSE(shape_error(kMaxDimension, kMaxDimension));
  }

  TEST_CASE("token counts run from 1 to 1048576") {
    CHECK(tokens_error(0) == "M = 0 is below 1");
    CHECK(tokens_error(100000000) == "M = 100000000 exceeds 1048576");
    CHECK_FALSE(tokens_error(1));
    CHECK_FALSE(tokens_error(1 << 20));
  }

  TEST_CASE("packed weights take 0.5625 byte a weight after padding to 64 x 64") {
    CHECK(packed_bytes(4096, 4096) == 4096LL * 4096 * 9 / 16);
    CHECK(packed_bytes(1, 16) == 2304);
    CHECK(packed_bytes(65, 80) == 4 * 2304);
    CHECK(packed_bytes(kMaxDimension, kMaxDimension) == (int64_t{1} << 44) * 9 / 16);
  }

  TEST_CASE("the key changes with every field of the problem") {
    const Problem base{.n = 4096, .k = 2048, .arch = {9, 0, true}};
    CHECK(key_text(base) == "dense layout=1 n=4096 k=2048 act=bf16 arch=sm_90a");
    Problem grouped = base;
    grouped.kind = ProblemKind::grouped;
    grouped.experts = 8;
    CHECK(key_text(grouped) == "grouped layout=1 n=4096 k=2048 act=bf16 arch=sm_90a experts=8");
    Problem changed[8] = {base, base, base, base, base, base, grouped, grouped};
    changed[7].experts = 16;
    CHECK(key_text(changed[7]) != key_text(grouped));
    changed[0].layout = 2;
    changed[1].n = 2048;
    changed[2].k = 4096;
    changed[3].act = Activation::fp16;
    changed[4].arch = {8, 0, false};
    changed[5].arch.accelerated = false;
    for (const Problem& p : changed) CHECK(key_text(p) != key_text(base));
  }

  TEST_CASE("a grouped problem has experts and a dense one has none") {
    Problem problem{.n = 4096, .k = 2048, .arch = {9, 0, true}};
    CHECK_FALSE(shape_error(problem));
    problem.experts = 8;
    CHECK(shape_error(problem) == "a dense problem with 8 experts");
    problem.kind = ProblemKind::grouped;
    CHECK_FALSE(shape_error(problem));
    problem.experts = 0;
    CHECK(shape_error(problem) == "a grouped problem with 0 experts, not 1..4096");
    problem.experts = kMaxExperts + 1;
    CHECK(shape_error(problem) == "a grouped problem with 4097 experts, not 1..4096");
    problem.k = 100;
    CHECK(shape_error(problem) == "K = 100 is not a multiple of 16");
    CHECK(parse_problem_kind("grouped") == ProblemKind::grouped);
    CHECK_FALSE(parse_problem_kind("sparse"));
  }
}
