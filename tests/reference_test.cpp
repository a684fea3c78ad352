// SPDX-License-Identifier: Apache-2.0
#include "tuner/reference.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "runtime/numerics.h"

using namespace nvfp4;

namespace {

struct Operands {
  int64_t m, n, k, lda;
  std::vector<uint16_t> activations;
  std::vector<uint8_t> codes, scales;

  Operands(int64_t tokens, int64_t rows, int64_t depth, unsigned seed)
      : m(tokens),
        n(rows),
        k(depth),
        lda(depth + 8),
        activations(m * lda, 0x7fff),
        codes(n * k / 2),
        scales(n * k / 16) {
    std::mt19937 random(seed);
    for (int64_t token = 0; token < m; ++token) {
      for (int64_t i = 0; i < k; ++i) {
        activations[token * lda + i] = bf16_bits(static_cast<float>(random() % 2001) / 100 - 10);
      }
    }
    for (uint8_t& code : codes) code = static_cast<uint8_t>(random());
    for (uint8_t& scale : scales)
      scale = static_cast<uint8_t>(random() % 0x7f + random() % 2 * 128);
  }

  double product(int64_t token, int64_t row, int64_t i) const {
    const uint8_t pair = codes[(row * k + i) / 2];
    return double{bf16_value(activations[token * lda + i])} *
           e2m1_value(i % 2 == 0 ? pair & 15 : pair >> 4) * e4m3_value(scales[(row * k + i) / 16]);
  }

  ReferenceSums sums(const std::vector<int64_t>& rows, AbsSums abs_sums, int threads) const {
    return reference_sums(activations, Activation::bf16, m, lda, codes, scales, k, rows, abs_sums,
                          threads);
  }
};

}  // namespace

TEST_SUITE("reference") {
  TEST_CASE("a product of two numbers is what it is by hand") {
    // A = [1, -2, 0 ...], W = [3, 0.5, ...] * 2, k = 16.
    std::vector<uint16_t> a(16, 0);
    a[0] = bf16_bits(1);
    a[1] = bf16_bits(-2);
    std::vector<uint8_t> codes(8, 0);
    codes[0] = 0x15;
    const std::vector<uint8_t> scales = {e4m3_code(2)};
    const std::vector<int64_t> rows = {0};
    const ReferenceSums result =
        reference_sums(a, Activation::bf16, 1, 16, codes, scales, 16, rows, AbsSums::yes, 1);
    CHECK(result.sums == std::vector<double>{4});
    CHECK(result.abs_sums == std::vector<double>{8});
  }

  TEST_CASE("sums and magnitudes agree with the textbook loop at ragged sizes") {
    for (const int64_t m : {1, 3, 4, 7}) {
      for (const int64_t n : {1, 2, 17, 33}) {
        for (const int64_t k : {16, 1040, 2064}) {
          const Operands x(m, n, k, static_cast<unsigned>(m * 100 + n * 10 + k));
          std::vector<int64_t> rows;
          for (int64_t row = n - 1; row >= 0; row -= 2) rows.push_back(row);
          const ReferenceSums result = x.sums(rows, AbsSums::yes, 2);
          REQUIRE(result.sums.size() == m * rows.size());
          for (int64_t token = 0; token < m; ++token) {
            for (size_t r = 0; r < rows.size(); ++r) {
              double sum = 0, magnitude = 0;
              for (int64_t i = 0; i < k; ++i) {
                sum += x.product(token, rows[r], i);
                magnitude += std::fabs(x.product(token, rows[r], i));
              }
              REQUIRE(std::fabs(result.sums[token * rows.size() + r] - sum) <= 1e-12 * magnitude);
              REQUIRE(std::fabs(result.abs_sums[token * rows.size() + r] - magnitude) <=
                      1e-12 * magnitude);
            }
          }
        }
      }
    }
  }

  TEST_CASE("magnitudes are computed only when asked for, and threads change nothing") {
    const Operands x(5, 100, 128, 1);
    std::vector<int64_t> rows(100);
    for (int64_t i = 0; i < 100; ++i) rows[i] = i;
    const ReferenceSums one = x.sums(rows, AbsSums::no, 1);
    CHECK(one.abs_sums.empty());
    CHECK(x.sums(rows, AbsSums::no, 3).sums == one.sums);
  }

  TEST_CASE("a NaN or an Inf in a token reaches that token alone") {
    Operands x(3, 4, 32, 2);
    x.activations[1 * x.lda + 5] = 0x7fc0;
    const ReferenceSums result = x.sums({0, 1, 2, 3}, AbsSums::no, 1);
    for (int i = 0; i < 12; ++i) CHECK(std::isnan(result.sums[i]) == (i / 4 == 1));
  }

  TEST_CASE("the epilogue multiplies in FP32 with one rounding, then rounds to the output type") {
    CHECK(reference_output(3, 0.5f, 0.25f, OutputType::fp32) == 1.75f);
    // 1 + 2^-24 is halfway to the next float: only a fused multiply-add still sees the bias.
    CHECK(reference_output(1 + 0x1p-12, 1 + 0x1p-12f, 0x1p-60f, OutputType::fp32) ==
          1 + 0x1p-11f + 0x1p-23f);
    CHECK(reference_output(1 + 0x1p-12, 1 + 0x1p-12f, 0, OutputType::fp32) == 1 + 0x1p-11f);
    CHECK(reference_output(257, 1, 0, OutputType::bf16) == 256);
    CHECK(reference_output(2049, 1, 0, OutputType::fp16) == 2048);
    CHECK(reference_output(2051, 1, 0, OutputType::fp16) == 2052);
    CHECK(reference_output(65520, 1, 0, OutputType::fp16) ==
          std::numeric_limits<float>::infinity());
    CHECK(reference_output(-65519, 1, 0, OutputType::fp16) == -65504);
  }

  TEST_CASE("elements of the three output types are read at any alignment") {
    uint8_t bytes[16] = {};
    const uint16_t half = fp16_bits(-1.5f);
    std::memcpy(bytes + 1 + 2, &half, 2);
    CHECK(output_value(bytes + 1, 1, OutputType::fp16) == -1.5f);
    const uint16_t brain = bf16_bits(3.0f);
    std::memcpy(bytes + 1 + 4, &brain, 2);
    CHECK(output_value(bytes + 1, 2, OutputType::bf16) == 3.0f);
    const float single = 0.1f;
    std::memcpy(bytes + 1 + 4, &single, 4);
    CHECK(output_value(bytes + 1, 1, OutputType::fp32) == 0.1f);
    CHECK(output_bytes(OutputType::fp32) == 4);
    CHECK(output_bytes(OutputType::bf16) == 2);
  }
}
