// SPDX-License-Identifier: Apache-2.0
// Judges a kernel's output. Exact cases are compared as bits, whole rows at once, so that checking
// a right answer costs about as much as reading it; only a wrong one is looked at element by
// element.
#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "runtime/numerics.h"
#include "runtime/parallel.h"
#include "templates/packed_layout.h"
#include "tuner/gate_data.h"
#include "tuner/reference.h"

namespace nvfp4 {
namespace {

/// Elements that are wrong: how many, the first, and the box they fill.
class Damage {
 public:
  void add(int64_t m, int64_t n) {
    if (count_++ == 0) {
      first_m_ = low_m_ = high_m_ = m;
      first_n_ = low_n_ = high_n_ = n;
    }
    low_m_ = std::min(low_m_, m);
    high_m_ = std::max(high_m_, m);
    low_n_ = std::min(low_n_, n);
    high_n_ = std::max(high_n_, n);
  }
  bool any() const { return count_ > 0; }
  int64_t first_m() const { return first_m_; }
  int64_t first_n() const { return first_n_; }

  std::string text(int64_t checked) const {
    return fmt::format("{} of {} wrong, within m {}..{}, n {}..{}", count_, checked, low_m_,
                       high_m_, low_n_, high_n_);
  }

 private:
  int64_t count_ = 0;
  int64_t first_m_ = 0, low_m_ = 0, high_m_ = 0;
  int64_t first_n_ = 0, low_n_ = 0, high_n_ = 0;
};

/// The kernel's output with its row stride.
struct Output {
  const void* data;
  int64_t ldo;
  OutputType type;

  float at(int64_t m, int64_t n) const { return output_value(data, m * ldo + n, type); }
  const uint8_t* row(int64_t m) const {
    return static_cast<const uint8_t*>(data) + m * ldo * output_bytes(type);
  }
};

bool same(float value, float expected) {
  return value == expected || (std::isnan(value) && std::isnan(expected));
}

float global_scale(const GateCase& c, int64_t n) { return c.global_scales[n / kTileRows]; }

float bias(const GateCase& c, int64_t n) {
  return c.bias.empty() ? 0.0f : activation_value(c.bias[n], c.act);
}

void store(float value, OutputType type, uint8_t* element) {
  if (type == OutputType::fp32) {
    std::memcpy(element, &value, sizeof value);
  } else {
    const uint16_t bits = type == OutputType::bf16 ? bf16_bits(value) : fp16_bits(value);
    std::memcpy(element, &bits, sizeof bits);
  }
}

/// The bytes that every period of tokens must leave: [period, n] elements, 7 ns each.
class ExpectedRows {
 public:
  ExpectedRows(const GateCase& c, OutputType type, int threads)
      : row_bytes_(c.n * output_bytes(type)), bytes_(std::min(c.m, c.period) * row_bytes_) {
    parallel_for(std::min(c.m, c.period), threads, [&](int64_t token) {
      for (int64_t n = 0; n < c.n; ++n) {
        const float value = reference_output(c.sums[token * c.n + n], global_scale(c, n),
                                             bias(c, n), OutputType::fp32);
        store(value, type, &bytes_[token * row_bytes_ + n * output_bytes(type)]);
      }
    });
  }
  const uint8_t* row(int64_t token) const { return &bytes_[token * row_bytes_]; }
  int64_t row_bytes() const { return row_bytes_; }

 private:
  int64_t row_bytes_;
  std::vector<uint8_t> bytes_;
};

std::optional<std::string> check_bits(const GateCase& c, const Output& out, int threads) {
  const ExpectedRows expected(c, out.type, threads);
  std::vector<uint8_t> suspect(c.m);  // tokens with other bits
  parallel_for(c.m, threads, [&](int64_t m) {
    suspect[m] = std::memcmp(out.row(m), expected.row(m % c.period), expected.row_bytes()) != 0;
  });
  Damage damage;
  for (int64_t m = 0; m < c.m; ++m) {
    const uint8_t* const row = expected.row(m % c.period);
    for (int64_t n = 0; n < c.n && suspect[m] != 0; ++n) {
      if (!same(out.at(m, n), output_value(row, n, out.type))) damage.add(m, n);
    }
  }
  if (!damage.any()) return std::nullopt;
  const int64_t m = damage.first_m();
  const int64_t n = damage.first_n();
  return fmt::format("{}: out[m={}, n={}] is {}, expected {} ({})", c.name, m, n, out.at(m, n),
                     output_value(expected.row(m % c.period), n, out.type), damage.text(c.m * c.n));
}

/// What a one-hot token gives at row n if the kernel multiplies it with the weight at (row, k).
float position_value(const GateCase& c, int64_t m, int64_t n, int64_t row, int64_t k,
                     OutputType type) {
  const uint8_t codes = c.codes[(row * c.k + k) / 2];
  const double weight = e2m1_value(k % 2 == 0 ? codes & 15 : codes >> 4) *
                        e4m3_value(c.scales[(row * c.k + k) / kBlockSize]);
  const double hot = activation_value(c.activations[m * c.lda + c.hot_k[m]], c.act);
  return reference_output(hot * weight, global_scale(c, n), 0, type);
}

/// Where in the same 64 x 64 tile a weight stands that explains a wrong value. Many weights are
/// equal: the likeliest is one of the same k or the same row, and near.
std::string position_origin(const GateCase& c, int64_t m, int64_t n, const Output& out) {
  const float value = out.at(m, n);
  if (value == 0) return "no weight reached it";
  const auto distance = [](int64_t a, int64_t b) {
    return a == b ? 0 : kTileRows + std::abs(a - b);
  };
  const int64_t tile_n = n / kTileRows * kTileRows;
  const int64_t tile_k = c.hot_k[m] / kTileK * kTileK;
  int64_t nearest = std::numeric_limits<int64_t>::max();
  std::string text = "no weight of its tile gives that";
  for (int64_t row = tile_n; row < std::min(tile_n + kTileRows, c.n); ++row) {
    for (int64_t k = tile_k; k < std::min(tile_k + kTileK, c.k); ++k) {
      const int64_t apart = distance(row, n) + distance(k, c.hot_k[m]);
      if (apart >= nearest || position_value(c, m, n, row, k, out.type) != value) continue;
      nearest = apart;
      text = fmt::format("that is the weight at n={}, k={}", row, k);
    }
  }
  return text;
}

// Every element has a value of its own, 30 ns each: 4096 tokens of 28672 rows take one thread 3.5
// s.
std::optional<std::string> check_position(const GateCase& c, const Output& out, int threads) {
  const auto wrong = [&](int64_t m, int64_t n) {
    return !same(out.at(m, n), position_value(c, m, n, n, c.hot_k[m], out.type));
  };
  std::vector<uint8_t> suspect(c.m);  // tokens with a wrong element
  parallel_for(c.m, threads, [&](int64_t m) {
    for (int64_t n = 0; n < c.n && suspect[m] == 0; ++n) suspect[m] = wrong(m, n);
  });
  Damage damage;
  for (int64_t m = 0; m < c.m; ++m) {
    for (int64_t n = 0; n < c.n && suspect[m] != 0; ++n) {
      if (wrong(m, n)) damage.add(m, n);
    }
  }
  if (!damage.any()) return std::nullopt;
  const int64_t m = damage.first_m();
  const int64_t n = damage.first_n();
  const int64_t k = c.hot_k[m];
  return fmt::format("{}: out[m={}, n={}] at k={} is {}, expected {}; {} ({})", c.name, m, n, k,
                     out.at(m, n), position_value(c, m, n, n, k, out.type),
                     position_origin(c, m, n, out), damage.text(c.m * c.n));
}

/// Largest distance from the exact result that an honest kernel can show: one rounding to the
/// output type, one to FP32, and FP32 accumulation. Tensor cores truncate below 2^-23 of the
/// running sum at each of k/16 steps at least; twice that, and some more for the sums across warps
/// and CTAs.
double error_bound(const GateCase& c, double expected, double magnitude, OutputType type) {
  constexpr double kUnit[] = {0x1p-8, 0x1p-11, 0};     // bf16, fp16, fp32
  constexpr double kFloor[] = {0x1p-134, 0x1p-25, 0};  // half the least subnormal
  const double steps = static_cast<double>(c.k) / kBlockSize + 32;
  const double accumulation = steps * 0x1p-22 * magnitude;
  const double rounding = kUnit[static_cast<int>(type)] + 0x1p-24;
  return accumulation + rounding * (std::fabs(expected) + accumulation) +
         kFloor[static_cast<int>(type)] + 0x1p-150;
}

std::optional<std::string> check_bounds(const GateCase& c, const Output& out, double* worst_ratio,
                                        int threads) {
  if (c.m == 0) return std::nullopt;
  const int64_t columns = static_cast<int64_t>(c.rows.size());
  const auto expected_at = [&](int64_t m, int64_t column) {
    const int64_t n = c.rows[column];
    return c.sums[m % c.period * columns + column] * global_scale(c, n) + bias(c, n);
  };
  const auto ratio_at = [&](int64_t m, int64_t column) {
    const int64_t n = c.rows[column];
    const double expected = expected_at(m, column);
    const double magnitude =
        c.abs_sums[m % c.period * columns + column] * std::fabs(global_scale(c, n)) +
        std::fabs(bias(c, n));
    const double error = std::fabs(out.at(m, n) - expected);
    const double ratio = error / error_bound(c, expected, magnitude, out.type);
    return std::isnan(ratio) ? std::numeric_limits<double>::infinity() : ratio;
  };
  struct Worst {
    double ratio = 0;
    int64_t column = 0;
  };
  std::vector<Worst> worst_of(c.m);
  parallel_for(c.m, threads, [&](int64_t m) {
    Worst worst_here;
    for (int64_t column = 0; column < columns; ++column) {
      const double ratio = ratio_at(m, column);
      if (ratio > worst_here.ratio) worst_here = {ratio, column};
    }
    worst_of[m] = worst_here;
  });
  const auto less = [](const Worst& a, const Worst& b) { return a.ratio < b.ratio; };
  const int64_t worst_m =
      std::max_element(worst_of.begin(), worst_of.end(), less) - worst_of.begin();
  const auto [worst, worst_column] = worst_of[worst_m];
  Damage damage;
  int64_t first_column = 0;
  for (int64_t m = 0; m < c.m; ++m) {
    for (int64_t column = 0; column < columns && worst_of[m].ratio > 1; ++column) {
      if (ratio_at(m, column) <= 1) continue;
      if (!damage.any()) first_column = column;
      damage.add(m, c.rows[column]);
    }
  }
  if (worst_ratio != nullptr) *worst_ratio = worst;
  if (!damage.any()) return std::nullopt;
  const int64_t m = damage.first_m();
  const int64_t n = damage.first_n();
  return fmt::format(
      "{}: out[m={}, n={}] is {}, expected {} ({:.3g} times its bound, worst {:.3g} at m={}, "
      "n={}; {})",
      c.name, m, n, out.at(m, n), static_cast<float>(expected_at(m, first_column)),
      ratio_at(m, first_column), worst, worst_m, c.rows[worst_column], damage.text(c.m * columns));
}

}  // namespace

std::optional<std::string> check(const GateCase& gate_case, const void* out, int64_t ldo,
                                 OutputType out_type, double* worst_ratio, int threads) {
  assert(ldo >= gate_case.n && "rows of the output would overlap");
  if (worst_ratio != nullptr) *worst_ratio = 0;
  const Output output{out, ldo, out_type};
  switch (gate_case.kind) {
    case GateKind::exact:
    case GateKind::special:
      return check_bits(gate_case, output, threads);
    case GateKind::position:
      return check_position(gate_case, output, threads);
    case GateKind::random:
      break;
  }
  return check_bounds(gate_case, output, worst_ratio, threads);
}

}  // namespace nvfp4
