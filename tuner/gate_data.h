// SPDX-License-Identifier: Apache-2.0
// The inputs with which the correctness gate tries a kernel, and the judgement of its output. Pure
// host code: the gate uploads a case, launches, downloads, and asks check().
//
//   exact     integer data whose sums stay below 2^22 units: any summation order gives the same
//   bits position  one-hot tokens, weights coded by place: a wrong value names its m, n, k and
//   where it is from random    normal data against a bound for each element special   exact data
//   with NaN and Inf in two tokens, extreme global scales: nothing else may change
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "templates/gemm_params.h"
#include "templates/kernel_config.h"

namespace nvfp4 {

enum class GateKind { exact, position, random, special };

inline constexpr GateKind kGateKinds[] = {GateKind::exact, GateKind::position, GateKind::random,
                                          GateKind::special};

std::string_view name(GateKind kind);

struct GateRequest {
  int64_t n = 0;
  int64_t k = 0;  ///< a multiple of 16
  int64_t m = 0;  ///< tokens, >= 1
  Activation act = Activation::bf16;
  uint64_t seed = 1;
  bool bias = false;  ///< position cases have none
  int64_t lda = 0;    ///< 0 = k + 8, whose gap of NaN shows any read beyond k
  /// Position cases: each round of m one-hot tokens visits other k; m * rounds >= k visits all.
  int position_round = 0;
};

/// Weights in checkpoint form, activations, and what must come out. A case made for m tokens also
/// judges the first of them alone: set `m` lower.
struct GateCase {
  GateKind kind = GateKind::exact;
  std::string name;  ///< "exact", "position round 2", for messages
  int64_t n = 0;
  int64_t k = 0;
  int64_t m = 0;
  Activation act = Activation::bf16;
  std::vector<uint8_t> codes;         ///< [n, k/2]
  std::vector<uint8_t> scales;        ///< [n, k/16] E4M3, no NaN
  std::vector<float> global_scales;   ///< one for each 64 rows
  std::vector<uint16_t> bias;         ///< [n] in the activation type, or empty
  std::vector<uint16_t> activations;  ///< [m, lda] in the activation type; NaN from k to lda
  int64_t lda = 0;                    ///< elements

  /// Except in position cases tokens repeat with this period, which keeps the reference affordable
  /// at any m: 61 at most, a prime, so that no tile of tokens equals its neighbour.
  int64_t period = 0;
  std::vector<int64_t> rows;     ///< weight rows with an expectation, ascending
  std::vector<double> sums;      ///< [period, rows] sum_k A W, without g and bias
  std::vector<double> abs_sums;  ///< random cases: the same of |A| |W|
  std::vector<int64_t> hot_k;    ///< [m] position cases: the k of each one-hot token; no sums
};

/// Builds one case with up to `threads` threads. The same request gives the same inputs anywhere.
GateCase make_gate_case(GateKind kind, const GateRequest& request, int threads);

/// Empty when `out` ([m, ldo] elements of `out_type`, ldo >= n, any alignment) is what the case
/// demands; else one line that names the case, the first wrong m and n (and k of a position case),
/// both values, and how far the damage extends. Zeros compare equal whatever their sign and NaNs
/// whatever their payload. `threads` share the work. `worst_ratio`, when given, receives the
/// largest |error| / bound of a random case (0 for the others).
std::optional<std::string> check(const GateCase& gate_case, const void* out, int64_t ldo,
                                 OutputType out_type, double* worst_ratio = nullptr,
                                 int threads = 1);

}  // namespace nvfp4
