// SPDX-License-Identifier: Apache-2.0
#include "runtime/quantize.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "runtime/numerics.h"

using namespace nvfp4;

namespace {

std::vector<float> normal_weights(int64_t count, float deviation, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> weights(count);
  for (float& weight : weights) weight = normal(random);
  return weights;
}

std::string refusal(const std::vector<float>& weights, int64_t n, int64_t k) {
  try {
    quantize(weights, n, k);
  } catch (const QuantizeError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_SUITE("quantize") {
  TEST_CASE("weights that NVFP4 can hold are held exactly") {
    std::mt19937 random(1);
    std::vector<float> weights(5 * 64);
    for (size_t block = 0; block < weights.size() / 16; ++block) {
      const float scale = block == 0 ? 448 : e4m3_value(static_cast<uint8_t>(1 + random() % 0x7e));
      for (int i = 0; i < 16; ++i) {
        // A 6 in every block makes the block's amax / 6 the scale it was made with.
        const auto code = static_cast<uint8_t>(i == 3 ? 15 : random() % 16);
        weights[block * 16 + i] = e2m1_value(code) * scale;
      }
    }
    const QuantizedMatrix matrix = quantize(weights, 5, 64);
    CHECK(matrix.global_scale == 1);
    CHECK(dequantize(matrix) == weights);
  }

  TEST_CASE("the largest weight sets the global scale and comes back as 448 * 6 of it") {
    std::vector<float> weights = normal_weights(8 * 32, 0.02f, 2);
    weights[77] = -0.75f;
    const QuantizedMatrix matrix = quantize(weights, 8, 32);
    CHECK(matrix.global_scale == 0.75f / (448 * 6));
    CHECK(dequantize(matrix)[77] == doctest::Approx(-0.75).epsilon(1e-6));
    CHECK(matrix.scales[77 / 16] == 0x7e);
  }

  TEST_CASE("no weight is off by more than one unit of its block") {
    const std::vector<float> weights = normal_weights(64 * 256, 0.1f, 3);
    const QuantizedMatrix matrix = quantize(weights, 64, 256);
    const std::vector<float> back = dequantize(matrix);
    double squares = 0, errors = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      const float unit = e4m3_value(matrix.scales[i / 16]) * matrix.global_scale;
      const float error = std::fabs(back[i] - weights[i]);
      REQUIRE(error <= unit * 1.0001f);
      squares += weights[i] * weights[i];
      errors += error * error;
    }
    CHECK(std::sqrt(errors / squares) <
          0.11);  // what the format can do on normal data: about 0.095
    CHECK(std::sqrt(errors / squares) > 0.05);
  }

  TEST_CASE("even k stands in the low nibble") {
    std::vector<float> weights(16, 0.0f);
    weights[0] = 6;
    weights[1] = -3;
    const QuantizedMatrix matrix = quantize(weights, 1, 16);
    CHECK(matrix.codes[0] == 0xd7);
  }

  TEST_CASE("a zero block has scale zero, and a zero matrix the neutral global scale") {
    std::vector<float> weights(32, 0.0f);
    weights[20] = 1;
    const QuantizedMatrix one = quantize(weights, 1, 32);
    CHECK(one.scales[0] == 0);
    CHECK(one.scales[1] != 0);
    const QuantizedMatrix zero = quantize(std::vector<float>(32, 0.0f), 2, 16);
    CHECK(zero.global_scale == 1);
    CHECK(dequantize(zero) == std::vector<float>(32, 0.0f));
  }

  TEST_CASE("weights too small for FP32's normal range give numbers, not NaN") {
    const std::vector<float> weights(16, 1e-42f);
    for (const float weight : dequantize(quantize(weights, 1, 16))) CHECK(weight == 0);
  }

  TEST_CASE("bad input is refused with its place and both sizes") {
    std::vector<float> weights(64, 1.0f);
    CHECK(refusal(weights, 2, 48) == "64 weights for a matrix of 2 x 48");
    CHECK(refusal(weights, 1, 100).find("100") != std::string::npos);
    CHECK(refusal(weights, 0, 64) != "");
    weights[40] = std::numeric_limits<float>::quiet_NaN();
    CHECK(refusal(weights, 2, 32) == "weight at row 1, k 8 is nan");
    weights[40] = -std::numeric_limits<float>::infinity();
    CHECK(refusal(weights, 2, 32) == "weight at row 1, k 8 is -inf");
    CHECK(refusal(std::vector<float>(64, 1.0f), 2, 32) == "");
  }

  TEST_CASE("dequantising a matrix of the wrong size is refused") {
    QuantizedMatrix matrix = quantize(std::vector<float>(32, 1.0f), 2, 16);
    matrix.codes.pop_back();
    CHECK_THROWS_AS(dequantize(matrix), QuantizeError);
  }
}
