// SPDX-License-Identifier: Apache-2.0
// The NVFP4 recipe: one FP32 scale so that block scales use the whole of E4M3, one E4M3 scale so
// that the largest of 16 weights uses the whole of E2M1. Codes are chosen against the *rounded*
// block scale, so a scale's rounding error does not add to the codes' error.
#include "runtime/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>

#include "generator/problem.h"
#include "runtime/numerics.h"
#include "templates/packed_layout.h"

namespace nvfp4 {
namespace {

float largest_magnitude(std::span<const float> weights) {
  float largest = 0;
  for (const float weight : weights) largest = std::max(largest, std::fabs(weight));
  return largest;
}

/// Writes one block's eight code bytes and returns its scale code.
uint8_t quantize_block(std::span<const float> weights, float global_scale, uint8_t* codes) {
  const float wanted = largest_magnitude(weights) / kE2m1Max / global_scale;
  const uint8_t scale = e4m3_code(wanted);
  const float unit = e4m3_value(scale) * global_scale;
  for (int i = 0; i < kBlockSize; i += 2) {
    // A block too small for the least scale is zero: dividing by a unit of 0 would make it noise.
    const uint8_t low = unit == 0 ? 0 : e2m1_code(weights[i] / unit);
    const uint8_t high = unit == 0 ? 0 : e2m1_code(weights[i + 1] / unit);
    codes[i / 2] = static_cast<uint8_t>(low | high << 4);
  }
  return scale;
}

}  // namespace

QuantizedMatrix quantize(std::span<const float> weights, int64_t n, int64_t k, GlobalScale rule) {
  if (const std::optional<std::string> error = shape_error(n, k)) throw QuantizeError(*error);
  if (static_cast<int64_t>(weights.size()) != n * k) {
    throw QuantizeError(fmt::format("{} weights for a matrix of {} x {}", weights.size(), n, k));
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!std::isfinite(weights[i])) {
      throw QuantizeError(fmt::format("weight at row {}, k {} is {}", i / k, i % k, weights[i]));
    }
  }
  QuantizedMatrix matrix{.n = n, .k = k, .codes = {}, .scales = {}, .global_scale = 1};
  matrix.codes.resize(n * k / 2);
  matrix.scales.resize(n * k / kBlockSize);
  float global_scale = largest_magnitude(weights) / (kE4m3Max * kE2m1Max);
  if (rule == GlobalScale::power_of_two && std::isnormal(global_scale)) {
    int exponent = 0;
    const float fraction = std::frexp(global_scale, &exponent);  // of [0.5, 1)
    global_scale = std::ldexp(1.0f, fraction == 0.5f ? exponent - 1 : exponent);
  }
  // An all-zero matrix, or one of magnitudes near FP32's least, keeps the neutral scale 1.
  if (std::isnormal(global_scale)) matrix.global_scale = global_scale;
  for (size_t block = 0; block < matrix.scales.size(); ++block) {
    matrix.scales[block] = quantize_block(weights.subspan(block * kBlockSize, kBlockSize),
                                          matrix.global_scale, &matrix.codes[block * 8]);
  }
  return matrix;
}

void decode_row(std::span<const uint8_t> codes, std::span<const uint8_t> scales,
                std::span<float> weights) {
  static constexpr std::array<float, 256> kScales = [] {
    std::array<float, 256> values{};
    for (int code = 0; code < 256; ++code) values[code] = e4m3_value(static_cast<uint8_t>(code));
    return values;
  }();
  static constexpr std::array<float, 16> kWeights = [] {
    std::array<float, 16> values{};
    for (int code = 0; code < 16; ++code) values[code] = e2m1_value(static_cast<uint8_t>(code));
    return values;
  }();
  for (size_t i = 0; i < codes.size(); ++i) {
    const float scale = kScales[scales[i / 8]];
    weights[2 * i] = kWeights[codes[i] & 15] * scale;
    weights[2 * i + 1] = kWeights[codes[i] >> 4] * scale;
  }
}

std::vector<float> dequantize(const QuantizedMatrix& matrix) {
  const int64_t n = matrix.n;
  const int64_t k = matrix.k;
  if (static_cast<int64_t>(matrix.codes.size()) != n * k / 2 ||
      static_cast<int64_t>(matrix.scales.size()) != n * k / kBlockSize) {
    throw QuantizeError(fmt::format("{} code and {} scale bytes for a matrix of {} x {}",
                                    matrix.codes.size(), matrix.scales.size(), n, k));
  }
  std::vector<float> weights(n * k);
  decode_row(matrix.codes, matrix.scales, weights);  // rows hold whole blocks: one long row
  for (float& weight : weights) weight *= matrix.global_scale;
  return weights;
}

}  // namespace nvfp4
