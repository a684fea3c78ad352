// SPDX-License-Identifier: Apache-2.0
// One GEMM request without its token count, and the sizes that follow from it, overflow-checked.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "generator/device.h"
#include "templates/gemm_params.h"
#include "templates/kernel_config.h"
#include "templates/packed_layout.h"

namespace nvfp4 {

constexpr int64_t kMaxM = 1 << 20;          ///< tokens of one launch
constexpr int64_t kMaxDimension = 1 << 22;  ///< N and K: 4 Mi
constexpr int64_t kMaxExperts = 4096;       ///< of a grouped launch
constexpr int64_t kMaxStride = int64_t{1}
                               << 36;  ///< of a row, in elements: m * stride fits 64 bits

enum class ProblemKind : int { dense = 0, grouped = 1 };

/// The key under which kernels are tuned and looked up; output type, bias, strides and segments are
/// run-time branches of every kernel and no part of it.
struct Problem {
  ProblemKind kind = ProblemKind::dense;
  int layout = kLayoutVersion;
  int64_t n = 0;
  int64_t k = 0;
  Activation act = Activation::bf16;
  Arch arch;
  int64_t experts = 0;  ///< matrices of a grouped problem; 0 when it is dense

  friend bool operator==(const Problem&, const Problem&) = default;
};

/// Why (n, k) is no problem this product runs, e.g. "K = 100 is not a multiple of 16"; empty when
/// it is.
std::optional<std::string> shape_error(int64_t n, int64_t k);

/// The same for a whole problem: a grouped one has 1 to kMaxExperts experts, a dense one none.
std::optional<std::string> shape_error(const Problem& problem);

/// Why m is no token count, or empty.
std::optional<std::string> tokens_error(int64_t m);

/// "dense", "grouped".
std::string_view name(ProblemKind kind);
std::optional<ProblemKind> parse_problem_kind(std::string_view text);

/// "dense layout=1 n=4096 k=4096 act=bf16 arch=sm_90a", or with "experts=8" at its end: the
/// canonical key text.
std::string key_text(const Problem& problem);

/// Rows that n rows of weights take: whole 64-row tiles.
int64_t padded_rows(int64_t n);

/// N of a stack of matrices of k columns, each of which starts on a tile: gaps included, but for
/// one behind the last. Throws std::invalid_argument for no part, more than kMaxParts, or a bad
/// shape.
int64_t stack_rows(std::span<const int64_t> part_rows, int64_t k);

/// Packed bytes of the weights: 0.5625 a weight after padding to 64 x 64.
int64_t packed_bytes(int64_t n, int64_t k);

/// Experts that m tokens reach when each goes to one of `experts` at random: experts * (1 - (1 - 1
/// / experts)^m), rounded, at least 1. What a grouped launch is timed with and judged by.
int64_t busy_experts(int64_t experts, int64_t m);

/// Packed bytes that a launch of m tokens reads: all of a dense problem's, the busy experts' of a
/// grouped one.
int64_t weight_bytes(const Problem& problem, int64_t m);

/// A dense product and its tokens.
struct DenseProduct {
  Problem problem;
  int64_t m = 0;
};

/// What a launch of m tokens amounts to: itself, or the rows of a grouped problem's busy experts,
/// stacked, times the tokens of an average one.
DenseProduct dense_product(const Problem& problem, int64_t m);

}  // namespace nvfp4
