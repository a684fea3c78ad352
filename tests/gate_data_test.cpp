// SPDX-License-Identifier: Apache-2.0
// The gate's data against a model of a kernel: packed weights, FP32 sums in an order of its own,
// one rounding. The honest model passes every case; each way of breaking it is caught and named.
#include "tuner/gate_data.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <set>
#include <string>

#include "generator/problem.h"
#include "runtime/numerics.h"
#include "runtime/pack.h"
#include "runtime/quantize.h"
#include "tuner/reference.h"

using namespace nvfp4;

namespace {

/// How the model of a kernel goes wrong; every field's default is right.
struct Flaw {
  int64_t k_limit = INT64_MAX;                                        ///< k beyond are skipped
  std::function<int64_t(int64_t)> row = [](int64_t n) { return n; };  ///< weight row used for n
  std::function<int64_t(int64_t)> token = [](int64_t m) { return m; };
  std::function<int64_t(int64_t)> block = [](int64_t b) { return b; };  ///< scale used for block b
  bool early_cast = false;                                              ///< sums kept in bf16
  bool saturate = false;   ///< fp16 output clamped instead of Inf
  bool tile_scale = true;  ///< false: the first tile's global scale everywhere
};
/// A kernel's output: [m, ldo] elements behind one byte, so that nothing is aligned.
struct Output {
  std::vector<uint8_t> bytes;
  int64_t ldo;
  OutputType type;

  const void* data() const { return bytes.data() + 1; }
  uint8_t* element(int64_t m, int64_t n) { return &bytes[1 + (m * ldo + n) * output_bytes(type)]; }
  void flip(int64_t m, int64_t n, int bit) {
    element(m, n)[bit / 8] = static_cast<uint8_t>(element(m, n)[bit / 8] ^ 1 << bit % 8);
  }
};

void store(Output& out, int64_t m, int64_t n, float value) {
  if (out.type == OutputType::fp32) {
    std::memcpy(out.element(m, n), &value, 4);
  } else {
    const uint16_t bits = out.type == OutputType::bf16 ? bf16_bits(value) : fp16_bits(value);
    std::memcpy(out.element(m, n), &bits, 2);
  }
}

/// Sums four interleaved parts of k from the far end, as a split-K kernel might.
float accumulate(const float* a, const float* w, int64_t k, bool early_cast) {
  float parts[4] = {};
  for (int64_t i = k - 1; i >= 0; --i) {
    float& part = parts[i / 16 % 4];
    part += a[i] * (w[i] / 128);
    if (early_cast) part = bf16_value(bf16_bits(part));
  }
  return (parts[3] + parts[1]) + (parts[2] + parts[0]);
}

Output run(const GateCase& c, OutputType type, int64_t ldo, const Flaw& flaw = {}) {
  std::vector<uint8_t> packed(packed_bytes(c.n, c.k));
  pack(c.codes, c.scales, c.n, c.k, packed, 1, c.name);
  std::vector<uint8_t> codes(c.codes.size()), scales(c.scales.size());
  unpack(packed, c.n, c.k, codes, scales, 1, c.name);

  Output out{.bytes = std::vector<uint8_t>(1 + c.m * ldo * output_bytes(type), 0xff),
             .ldo = ldo,
             .type = type};
  const int64_t used = std::min(c.k, flaw.k_limit);
  std::vector<std::vector<float>> tokens(c.m, std::vector<float>(c.k));
  for (int64_t m = 0; m < c.m; ++m) {
    for (int64_t k = 0; k < c.k; ++k) {
      tokens[m][k] = activation_value(c.activations[flaw.token(m) * c.lda + k], c.act);
    }
  }
  std::vector<float> weights(c.k);
  std::vector<uint8_t> row_scales(c.k / 16);
  for (int64_t n = 0; n < c.n; ++n) {
    const int64_t row = flaw.row(n);
    const int64_t blocks = c.k / 16;
    for (int64_t b = 0; b < blocks; ++b) {
      row_scales[b] = scales[row * blocks + std::min(flaw.block(b), blocks - 1)];
    }
    decode_row(std::span(codes).subspan(row * c.k / 2, c.k / 2), row_scales, weights);
    const float g = c.global_scales[flaw.tile_scale ? n / 64 : 0];
    const float bias = c.bias.empty() ? 0 : activation_value(c.bias[n], c.act);
    for (int64_t m = 0; m < c.m; ++m) {
      const float sum = accumulate(tokens[m].data(), weights.data(), used, flaw.early_cast);
      float value = std::fmaf(sum, 128 * g, bias);
      if (flaw.saturate && std::fabs(value) > 65504) value = std::copysign(65504.0f, value);
      store(out, m, n, value);
    }
  }
  return out;
}

std::optional<std::string> verdict(const GateCase& c, const Output& out) {
  const auto alone = check(c, out.data(), out.ldo, out.type);
  CHECK(check(c, out.data(), out.ldo, out.type, nullptr, 7) == alone);  // threads change nothing
  return alone;
}

GateCase make(GateKind kind, int64_t n, int64_t k, int64_t m, bool bias = false,
              Activation act = Activation::bf16) {
  return make_gate_case(kind, {.n = n, .k = k, .m = m, .act = act, .bias = bias}, 2);
}

void check_refused(const GateCase& c, const Output& out, const std::string& text) {
  const std::string message = verdict(c, out).value_or("accepted");
  CAPTURE(message);
  CHECK(message.find(text) != std::string::npos);
}

}  // namespace

TEST_SUITE("gate_data") {
  TEST_CASE("an honest kernel passes every case in every output type, at ragged shapes") {
    const int64_t shapes[][3] = {
        {1, 16, 1}, {65, 48, 3}, {64, 64, 8}, {200, 528, 5}, {33, 1040, 130}};
    for (const GateKind kind : kGateKinds) {
      for (const auto& [n, k, m] : shapes) {
        for (const Activation act : {Activation::bf16, Activation::fp16}) {
          const GateCase c = make(kind, n, k, m, n % 2 == 1, act);
          for (const OutputType type : {OutputType::bf16, OutputType::fp16, OutputType::fp32}) {
            for (const int64_t ldo : {n, n + 3}) {
              CHECK(verdict(c, run(c, type, ldo)).value_or("") == "");
            }
          }
        }
      }
    }
  }

  TEST_CASE("the same request gives the same data whatever the number of threads") {
    for (const GateKind kind : kGateKinds) {
      const GateRequest request{.n = 130, .k = 96, .m = 70, .seed = 9, .bias = true};
      const GateCase one = make_gate_case(kind, request, 1);
      const GateCase many = make_gate_case(kind, request, 5);
      CHECK(one.codes == many.codes);
      CHECK(one.scales == many.scales);
      CHECK(one.activations == many.activations);
      CHECK(one.bias == many.bias);
      CHECK(one.global_scales == many.global_scales);
      GateRequest other = request;
      other.seed = 10;
      if (kind != GateKind::position) CHECK(make_gate_case(kind, other, 1).codes != one.codes);
    }
  }

  TEST_CASE("exact sums stay below 2^22 units at any K, so no order of summation rounds") {
    for (const int64_t k : {16, 4096, 40960, 262144}) {
      const GateCase c = make(GateKind::exact, 4, k, 3);
      double unit = 1e9, most = 0;
      std::vector<float> weights(k);
      for (int64_t n = 0; n < c.n; ++n) {
        decode_row(std::span(c.codes).subspan(n * k / 2, k / 2),
                   std::span(c.scales).subspan(n * k / 16, k / 16), weights);
        for (const float w : weights) {
          if (w != 0) unit = std::min(unit, std::fabs(double{w}));
        }
        for (int64_t m = 0; m < c.m; ++m) {
          double sum = 0;
          for (int64_t i = 0; i < k; ++i) {
            sum += std::fabs(weights[i] * activation_value(c.activations[m * c.lda + i], c.act));
          }
          most = std::max(most, sum);
        }
      }
      CHECK(most > 0);
      CHECK(most / unit < 1 << 22);
    }
  }

  TEST_CASE("a case made for many tokens judges a launch of fewer") {
    for (const GateKind kind : kGateKinds) {
      GateCase c = make(kind, 70, 96, 100);
      for (const int64_t m : {1, 2, 63}) {
        c.m = m;
        CHECK_FALSE(verdict(c, run(c, OutputType::fp32, 70)));
      }
    }
  }

  TEST_CASE("one wrong bit in one element is caught and named, in every output type") {
    for (const GateKind kind : {GateKind::exact, GateKind::position, GateKind::special}) {
      const GateCase c = make(kind, 100, 160, 9);
      for (const OutputType type : {OutputType::bf16, OutputType::fp16, OutputType::fp32}) {
        Output out = run(c, type, 104);
        out.flip(7, 50, 0);
        check_refused(c, out, "out[m=7, n=50]");
        check_refused(c, out, "1 of 900 wrong, within m 7..7, n 50..50");
      }
    }
  }

  TEST_CASE("an element that was never written is caught") {
    for (const GateKind kind : kGateKinds) {
      const GateCase c = make(kind, 100, 160, 9);
      Output out = run(c, OutputType::bf16, 100);
      std::memset(out.element(8, 99), 0xff, 2);  // poison is NaN
      check_refused(c, out, "out[m=8, n=99]");
    }
  }

  TEST_CASE("structural mistakes are caught by exact data in every output type") {
    const GateCase c = make(GateKind::exact, 192, 528, 24);
    const std::pair<const char*, Flaw> flaws[] = {
        {"missing k tail", {.k_limit = 512}},
        {"one k block short", {.k_limit = 528 - 16}},
        {"swapped rows", {.row = [](int64_t n) { return n ^ 1; }}},
        {"rows g and g + 8 swapped", {.row = [](int64_t n) { return n ^ 8; }}},
        {"stale weight tile", {.row = [](int64_t n) { return n % 64; }}},
        {"stale token tile", {.token = [](int64_t m) { return m % 8; }}},
        {"scale of the next block", {.block = [](int64_t b) { return b ^ 1; }}},
        {"early cast", {.early_cast = true}},
        {"global scale of another tile", {.tile_scale = false}},
    };
    for (const auto& [name, flaw] : flaws) {
      CAPTURE(name);
      for (const OutputType type : {OutputType::bf16, OutputType::fp16, OutputType::fp32}) {
        check_refused(c, run(c, type, 192, flaw), "exact: out[m=");
      }
    }
  }

  TEST_CASE("structural mistakes are caught by random data too") {
    const GateCase c = make(GateKind::random, 192, 528, 24, true);
    const std::pair<const char*, Flaw> flaws[] = {
        {"one k block short", {.k_limit = 528 - 16}},
        {"stale token tile", {.token = [](int64_t m) { return m % 8; }}},
        {"scale of the next block", {.block = [](int64_t b) { return b ^ 1; }}},
        {"early cast", {.early_cast = true}},
        {"global scale of another tile", {.tile_scale = false}},
    };
    for (const auto& [name, flaw] : flaws) {
      CAPTURE(name);
      for (const OutputType type : {OutputType::bf16, OutputType::fp16, OutputType::fp32}) {
        check_refused(c, run(c, type, 192, flaw), "times its bound");
      }
    }
  }

  TEST_CASE("a missing bias or a bias of the wrong row is caught") {
    for (const GateKind kind : {GateKind::exact, GateKind::random}) {
      const GateCase c = make(kind, 70, 64, 3, true);
      GateCase without = c;
      without.bias.clear();
      check_refused(c, run(without, OutputType::fp32, 70), "out[m=0, n=");
      GateCase shifted = c;
      std::rotate(shifted.bias.begin(), shifted.bias.begin() + 1, shifted.bias.end());
      check_refused(c, run(shifted, OutputType::fp32, 70), "out[m=0, n=");
    }
  }

  TEST_CASE("position data names m, n, k and where a wrong weight came from") {
    const GateCase c = make(GateKind::position, 128, 1024, 16);
    Output out = run(c, OutputType::fp32, 128);
    const int64_t m = 11;
    const int64_t k = c.hot_k[m];
    const float stolen = output_value(run(c, OutputType::fp32, 128).data(), m * 128 + 73, out.type);
    store(out, m, 70, stolen);  // the value of row 73, in the same tile
    check_refused(c, out, "position: out[m=11, n=70] at k=" + std::to_string(k));
    check_refused(c, out, "that is the weight at n=73, k=" + std::to_string(k));
    store(out, m, 70, 0);
    check_refused(c, out, "no weight reached it");
    store(out, m, 70, 1e9f);
    check_refused(c, out, "no weight of its tile gives that");
  }

  TEST_CASE("position data catches swapped fragments and wrong scales") {
    const GateCase c = make(GateKind::position, 128, 256, 64);
    for (const int64_t swap : {1, 2, 4, 8, 16, 32}) {
      const Flaw rows{.row = [swap](int64_t n) { return n ^ swap; }};
      check_refused(c, run(c, OutputType::bf16, 128, rows), "position: out[m=");
      const Flaw tokens{.token = [swap](int64_t m) { return m ^ swap; }};
      check_refused(c, run(c, OutputType::bf16, 128, tokens), "position: out[m=");
    }
    const Flaw scales{.block = [](int64_t b) { return b ^ 1; }};
    check_refused(c, run(c, OutputType::bf16, 128, scales), "position: out[m=");
  }

  TEST_CASE("position data meets every scale code with every weight code") {
    const int64_t shapes[][3] = {{4096, 64, 1}, {64, 2048, 65}, {1, 65536, 4096}, {254, 512, 20}};
    for (const auto& [n, k, m] : shapes) {
      const GateCase c = make(GateKind::position, n, k, m);
      std::set<int> met;
      for (int64_t token = 0; token < m; ++token) {
        for (int64_t row = 0; row < n; ++row) {
          const int64_t at = row * k + c.hot_k[token];
          const int code = at % 2 == 0 ? c.codes[at / 2] & 15 : c.codes[at / 2] >> 4;
          met.insert(c.scales[at / 16] * 16 + code);
        }
      }
      CAPTURE(n);
      CHECK(met.size() == 254 * 16);
    }
  }

  TEST_CASE("the rounds of position data visit every k once before any twice") {
    for (const int64_t k : {16, 48, 528, 4096}) {
      std::set<int64_t> visited;
      const int64_t m = 16;
      for (int round = 0; round < k / m; ++round) {
        const GateCase c = make_gate_case(GateKind::position,
                                          {.n = 4, .k = k, .m = m, .position_round = round}, 1);
        visited.insert(c.hot_k.begin(), c.hot_k.end());
      }
      CHECK(static_cast<int64_t>(visited.size()) == k);
      CHECK(*visited.begin() == 0);
      CHECK(*visited.rbegin() == k - 1);
    }
  }

  TEST_CASE("special tokens are Inf and NaN, and the others as ever") {
    const GateCase c = make(GateKind::special, 256, 64, 70);
    const Output out = run(c, OutputType::fp32, 256);
    int infinite = 0;
    for (int64_t n = 0; n < 64; ++n) {
      const float first = output_value(out.data(), n, out.type);
      CHECK_FALSE(std::isfinite(first));
      infinite += std::isinf(first);
      CHECK(std::isfinite(output_value(out.data(), 256 + n, out.type)));
      CHECK(std::isnan(output_value(out.data(), 512 + n, out.type)));
    }
    CHECK(infinite > 32);  // Inf times a zero weight is NaN
  }

  TEST_CASE("NaN that spreads to another token, or saturated fp16, is caught by special data") {
    const GateCase c = make(GateKind::special, 256, 64, 9);
    Output out = run(c, OutputType::fp16, 256);
    store(out, 3, 40, std::numeric_limits<float>::quiet_NaN());
    check_refused(c, out, "out[m=3, n=40] is nan");
    check_refused(c, run(c, OutputType::fp16, 256, {.saturate = true}), "expected ");
    out = run(c, OutputType::fp16, 256);
    store(out, 2, 5, 0);
    check_refused(c, out, "out[m=2, n=5] is 0, expected nan");
  }

  TEST_CASE("a random case reports how near its bound the worst element came") {
    const GateCase c = make(GateKind::random, 64, 1024, 8);
    double ratio = -1;
    Output out = run(c, OutputType::fp16, 64);
    CHECK_FALSE(check(c, out.data(), out.ldo, out.type, &ratio));
    CHECK(ratio > 0);
    CHECK(ratio < 1);
    store(out, 4, 33, 1000);
    CHECK(check(c, out.data(), out.ldo, out.type, &ratio));
    CHECK(ratio > 100);
    CHECK_FALSE(check(make(GateKind::exact, 1, 16, 1),
                      run(make(GateKind::exact, 1, 16, 1), OutputType::fp32, 1).data(), 1,
                      OutputType::fp32, &ratio));
    CHECK(ratio == 0);
  }

  TEST_CASE("zeros compare equal whatever their sign") {
    GateCase c = make(GateKind::exact, 64, 16, 2);
    std::fill(c.codes.begin(), c.codes.end(), 0);
    std::fill(c.sums.begin(), c.sums.end(), 0.0);
    Output out = run(c, OutputType::fp32, 64);
    store(out, 1, 3, -0.0f);
    CHECK_FALSE(verdict(c, out));
    store(out, 1, 3, 1e-40f);
    check_refused(c, out, "out[m=1, n=3]");
  }

  TEST_CASE("a random case too large for a whole reference samples rows, edges included") {
    const GateCase c = make(GateKind::random, 9000, 4096, 64);
    CHECK(c.period == 61);
    CHECK(c.rows.size() < 9000);
    CHECK(c.rows.size() > 7000);
    CHECK(std::is_sorted(c.rows.begin(), c.rows.end()));
    for (int64_t i = 0; i < 64; ++i) {
      CHECK(c.rows[i] == i);
      CHECK(c.rows[c.rows.size() - 1 - i] == 8999 - i);
    }
    const auto columns = static_cast<int64_t>(c.rows.size());
    Output out{.bytes = std::vector<uint8_t>(1 + 64 * 9000 * 4, 0xff),
               .ldo = 9000,
               .type = OutputType::fp32};
    for (int64_t m = 0; m < 64; ++m) {
      for (int64_t i = 0; i < columns; ++i) {
        const double sum = c.sums[m % 61 * columns + i];
        store(out, m, c.rows[i],
              reference_output(sum, c.global_scales[c.rows[i] / 64], 0, out.type));
      }
    }
    CHECK_FALSE(verdict(c, out));
    store(out, 63, c.rows[5000], 1e6f);
    check_refused(c, out, "out[m=63, n=" + std::to_string(c.rows[5000]) + "]");
  }
}
