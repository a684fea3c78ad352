// SPDX-License-Identifier: Apache-2.0
#include "generator/problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "generator/config_text.h"

namespace nvfp4 {

std::optional<std::string> shape_error(int64_t n, int64_t k) {
  if (n < 1) return fmt::format("N = {} is below 1", n);
  if (k < kBlockSize) return fmt::format("K = {} is below {}", k, kBlockSize);
  if (k % kBlockSize != 0) return fmt::format("K = {} is not a multiple of {}", k, kBlockSize);
  if (n > kMaxDimension) return fmt::format("N = {} exceeds {}", n, kMaxDimension);
  if (k > kMaxDimension) return fmt::format("K = {} exceeds {}", k, kMaxDimension);
  return std::nullopt;
}

std::optional<std::string> shape_error(const Problem& p) {
  if (auto error = shape_error(p.n, p.k)) return error;
  if (p.kind == ProblemKind::dense && p.experts != 0) {
    return fmt::format("a dense problem with {} experts", p.experts);
  }
  if (p.kind == ProblemKind::grouped && (p.experts < 1 || p.experts > kMaxExperts)) {
    return fmt::format("a grouped problem with {} experts, not 1..{}", p.experts, kMaxExperts);
  }
  return std::nullopt;
}

std::optional<std::string> tokens_error(int64_t m) {
  if (m < 1) return fmt::format("M = {} is below 1", m);
  if (m > kMaxM) return fmt::format("M = {} exceeds {}", m, kMaxM);
  return std::nullopt;
}

std::string_view name(ProblemKind kind) {
  return kind == ProblemKind::grouped ? "grouped" : "dense";
}

std::optional<ProblemKind> parse_problem_kind(std::string_view text) {
  for (const ProblemKind kind : {ProblemKind::dense, ProblemKind::grouped}) {
    if (text == name(kind)) return kind;
  }
  return std::nullopt;
}

std::string key_text(const Problem& p) {
  std::string text = fmt::format("{} layout={} n={} k={} act={} arch={}", name(p.kind), p.layout,
                                 p.n, p.k, name(p.act), sm_name(p.arch));
  if (p.kind == ProblemKind::grouped) text += fmt::format(" experts={}", p.experts);
  return text;
}

int64_t padded_rows(int64_t n) { return (n + kTileRows - 1) / kTileRows * kTileRows; }

int64_t stack_rows(std::span<const int64_t> part_rows, int64_t k) {
  if (part_rows.empty() || part_rows.size() > kMaxParts) {
    throw std::invalid_argument(
        fmt::format("{} parts: a stack has 1 to {}", part_rows.size(), kMaxParts));
  }
  int64_t rows = 0;
  for (const int64_t n : part_rows) {
    if (const auto error = shape_error(n, k)) throw std::invalid_argument(*error);
    rows = padded_rows(rows) + n;
  }
  if (const auto error = shape_error(rows, k)) throw std::invalid_argument(*error);
  return rows;
}

int64_t packed_bytes(int64_t n, int64_t k) { return packed_tiles(n, k) * kTileBytes; }

int64_t busy_experts(int64_t experts, int64_t m) {
  const auto count = static_cast<double>(experts);
  const double missed = std::pow(1 - 1 / count, static_cast<double>(m));
  return std::max<int64_t>(std::llround(count * (1 - missed)), 1);
}

int64_t weight_bytes(const Problem& problem, int64_t m) {
  const int64_t matrix = packed_bytes(problem.n, problem.k);
  if (problem.kind == ProblemKind::dense) return matrix;
  return busy_experts(problem.experts, m) * matrix;
}

DenseProduct dense_product(const Problem& problem, int64_t m) {
  if (problem.kind == ProblemKind::dense) return {problem, m};
  const int64_t busy = busy_experts(problem.experts, m);
  DenseProduct product{problem, (m + busy - 1) / busy};
  product.problem.kind = ProblemKind::dense;
  product.problem.experts = 0;
  product.problem.n = std::min(padded_rows(problem.n) * busy, kMaxDimension);
  return product;
}

}  // namespace nvfp4
