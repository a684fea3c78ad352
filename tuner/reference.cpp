// SPDX-License-Identifier: Apache-2.0
// Dot products in double, nothing smarter: rows and tokens are widened, k is walked in chunks that
// stay in cache, and two rows meet four tokens at a time so that the loads are shared.
#include "tuner/reference.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "runtime/numerics.h"
#include "runtime/parallel.h"
#include "runtime/quantize.h"
#include "templates/packed_layout.h"

namespace nvfp4 {
namespace {

constexpr int64_t kChunk = 1024;   // k of one chunk: 64 tokens of it are 512 KiB, half an L2 cache
constexpr int64_t kRowBlock = 16;  // rows that one thread decodes at a time
constexpr int kTokens = 4;
constexpr int kRows = 2;

// Compiled twice, chosen at load time: AVX2 and FMA double the speed of the baseline. Once for
// ThreadSanitizer, which is called by the function that chooses, before it has started.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define NVFP4_AVX2_TOO __attribute__((target_clones("arch=haswell", "default")))
#else
#define NVFP4_AVX2_TOO
#endif

using Lanes = double __attribute__((vector_size(32)));

/// A matrix of doubles, row after row.
struct Matrix {
  std::vector<double> values;
  int64_t k = 0;

  const double* row(int64_t index) const { return &values[index * k]; }
};

/// *sums[t][r] += dot of token t and row r over `count` k, a multiple of 4.
NVFP4_AVX2_TOO
void add_dots(const double* const (&tokens)[kTokens], const double* const (&rows)[kRows],
              int64_t count, double* const (&sums)[kTokens][kRows]) {
  Lanes totals[kTokens][kRows] = {};
  for (int64_t i = 0; i < count; i += 4) {
    Lanes weights[kRows];
    for (int r = 0; r < kRows; ++r) std::memcpy(&weights[r], rows[r] + i, sizeof(Lanes));
    for (int t = 0; t < kTokens; ++t) {
      Lanes activations;
      std::memcpy(&activations, tokens[t] + i, sizeof(Lanes));
      for (int r = 0; r < kRows; ++r) totals[t][r] += activations * weights[r];
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int r = 0; r < kRows; ++r) {
      const Lanes& total = totals[t][r];
      *sums[t][r] += (total[0] + total[1]) + (total[2] + total[3]);
    }
  }
}

/// sums[token * stride + row] += all dots of `tokens` and `rows`.
void add_block(const Matrix& tokens, int64_t token_count, const Matrix& rows, int64_t row_count,
               double* sums, int64_t stride) {
  double scratch = 0;
  for (int64_t k = 0; k < tokens.k; k += kChunk) {
    const int64_t count = std::min(kChunk, tokens.k - k);
    for (int64_t row = 0; row < row_count; row += kRows) {
      for (int64_t token = 0; token < token_count; token += kTokens) {
        const double* token_rows[kTokens];
        const double* weight_rows[kRows];
        double* targets[kTokens][kRows];
        for (int r = 0; r < kRows; ++r) {
          weight_rows[r] = rows.row(std::min(row + r, row_count - 1)) + k;
        }
        for (int t = 0; t < kTokens; ++t) {
          token_rows[t] = tokens.row(std::min(token + t, token_count - 1)) + k;
          for (int r = 0; r < kRows; ++r) {
            const bool real = token + t < token_count && row + r < row_count;
            targets[t][r] = real ? &sums[(token + t) * stride + row + r] : &scratch;
          }
        }
        add_dots(token_rows, weight_rows, count, targets);
      }
    }
  }
}

Matrix widened(std::span<const uint16_t> activations, Activation act, int64_t m, int64_t lda,
               int64_t k) {
  Matrix matrix{.values = std::vector<double>(m * k), .k = k};
  for (int64_t token = 0; token < m; ++token) {
    for (int64_t i = 0; i < k; ++i) {
      matrix.values[token * k + i] = activation_value(activations[token * lda + i], act);
    }
  }
  return matrix;
}

Matrix magnitudes(const Matrix& matrix) {
  Matrix result = matrix;
  for (double& value : result.values) value = std::fabs(value);
  return result;
}

}  // namespace

ReferenceSums reference_sums(std::span<const uint16_t> activations, Activation act, int64_t m,
                             int64_t lda, std::span<const uint8_t> codes,
                             std::span<const uint8_t> scales, int64_t k,
                             std::span<const int64_t> rows, AbsSums abs_sums, int threads) {
  const int64_t count = static_cast<int64_t>(rows.size());
  const Matrix tokens = widened(activations, act, m, lda, k);
  const Matrix token_magnitudes = abs_sums == AbsSums::yes ? magnitudes(tokens) : Matrix{};
  ReferenceSums result;
  result.sums.resize(m * count);
  if (abs_sums == AbsSums::yes) result.abs_sums.resize(m * count);

  parallel_for((count + kRowBlock - 1) / kRowBlock, threads, [&](int64_t block) {
    const int64_t first = block * kRowBlock;
    const int64_t size = std::min(kRowBlock, count - first);
    Matrix weights{.values = std::vector<double>(size * k), .k = k};
    std::vector<float> decoded(k);
    for (int64_t i = 0; i < size; ++i) {
      const int64_t row = rows[first + i];
      decode_row(codes.subspan(row * (k / 2), k / 2),
                 scales.subspan(row * (k / kBlockSize), k / kBlockSize), decoded);
      std::copy(decoded.begin(), decoded.end(), &weights.values[i * k]);
    }
    add_block(tokens, m, weights, size, &result.sums[first], count);
    if (abs_sums == AbsSums::yes) {
      add_block(token_magnitudes, m, magnitudes(weights), size, &result.abs_sums[first], count);
    }
  });
  return result;
}

float reference_output(double sum, float global_scale, float bias, OutputType out_type) {
  const float result =
      std::fmaf(static_cast<float>(sum) * (1 / kDecodeFactor), kDecodeFactor * global_scale, bias);
  switch (out_type) {
    case OutputType::bf16:
      return bf16_value(bf16_bits(result));
    case OutputType::fp16:
      return fp16_value(fp16_bits(result));
    case OutputType::fp32:
      break;
  }
  return result;
}

float activation_value(uint16_t bits, Activation act) {
  return act == Activation::bf16 ? bf16_value(bits) : fp16_value(bits);
}

float output_value(const void* out, int64_t index, OutputType out_type) {
  const auto* const element = static_cast<const uint8_t*>(out) + index * output_bytes(out_type);
  if (out_type == OutputType::fp32) {
    float value;
    std::memcpy(&value, element, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, element, sizeof bits);
  return out_type == OutputType::bf16 ? bf16_value(bits) : fp16_value(bits);
}

int output_bytes(OutputType out_type) { return out_type == OutputType::fp32 ? 4 : 2; }

}  // namespace nvfp4
