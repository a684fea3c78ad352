// SPDX-License-Identifier: Apache-2.0
// Makes the gate's data. Every row and every token has a random stream of its own, so the data does
// not depend on the number of threads, and no libm function is called, so it does not depend on the
// machine.
#include "tuner/gate_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "runtime/numerics.h"
#include "runtime/parallel.h"
#include "templates/packed_layout.h"
#include "tuner/reference.h"

namespace nvfp4 {
namespace {

constexpr int64_t kPeriod = 61;
constexpr uint16_t kNan16 = 0x7fff;  // NaN in bf16 and fp16 alike

/// splitmix64: a stream for each (seed, purpose, index).
class Random {
 public:
  enum Purpose : uint64_t { weights = 1, tokens, scale, bias };
  Random(uint64_t seed, Purpose purpose, int64_t index)
      : state_(mixed(mixed(seed + purpose * kStep) + static_cast<uint64_t>(index) * kStep)) {}

  uint64_t next() { return mixed(state_ += kStep); }
  int below(int bound) { return static_cast<int>((next() >> 32) * bound >> 32); }
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }

  /// Nearly normal with deviation 1: the sum of four uniform 16-bit numbers.
  float normal() {
    const uint64_t bits = next();
    int sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<int>(bits >> 16 * i & 0xffff);
    return static_cast<float>(sum - 2 * 0xffff) * (1.7320508f / 0x10000);
  }

 private:
  static constexpr uint64_t kStep = 0x9e3779b97f4a7c15;
  static uint64_t mixed(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  uint64_t state_;
};

uint16_t bits_of(float value, Activation act) {
  return act == Activation::bf16 ? bf16_bits(value) : fp16_bits(value);
}

/// The E4M3 code of 2^exponent, -9 .. 8.
uint8_t power_code(int exponent) {
  return static_cast<uint8_t>(exponent >= -6 ? (exponent + 7) << 3 : 1 << (exponent + 9));
}

void set_block(GateCase& c, int64_t block, uint64_t codes, uint8_t scale) {
  std::memcpy(&c.codes[block * sizeof codes], &codes, sizeof codes);
  c.scales[block] = scale;
}

/// Calls fill(random, block) for every block of 16 weights, row by row.
template <typename Fill>
void fill_weights(const GateCase& c, uint64_t seed, int threads, const Fill& fill) {
  const int64_t blocks = c.k / kBlockSize;
  parallel_for(c.n, threads, [&](int64_t row) {
    Random random(seed, Random::weights, row);
    for (int64_t block = row * blocks; block < (row + 1) * blocks; ++block) fill(random, block);
  });
}

/// Fills the first tokens by fill(random, token, values), then repeats them.
template <typename Fill>
void fill_tokens(GateCase& c, uint64_t seed, int threads, const Fill& fill) {
  c.period = std::min(c.m, kPeriod);
  parallel_for(c.period, threads, [&](int64_t token) {
    Random random(seed, Random::tokens, token);
    fill(random, token, &c.activations[token * c.lda]);
  });
  for (int64_t token = c.period; token < c.m; ++token) {
    std::copy_n(&c.activations[token % c.period * c.lda], c.k, &c.activations[token * c.lda]);
  }
}

void fill_bias(GateCase& c, uint64_t seed) {
  c.bias.resize(c.n);
  for (int64_t n = 0; n < c.n; ++n) {
    const int quarters = Random(seed, Random::bias, n).below(65) - 32;
    c.bias[n] = bits_of(static_cast<float>(quarters) / 4, c.act);
  }
}

/// Global scales of [1, 2) * 2^exponent, not powers of two, another for each tile.
void fill_global_scales(GateCase& c, uint64_t seed, int exponent) {
  for (size_t tile = 0; tile < c.global_scales.size(); ++tile) {
    const int significand =
        128 + Random(seed, Random::scale, static_cast<int64_t>(tile)).below(128);
    c.global_scales[tile] = std::ldexp(static_cast<float>(significand), exponent - 7);
  }
}

void expect_rows(GateCase& c, AbsSums abs_sums, int threads) {
  ReferenceSums reference = reference_sums(c.activations, c.act, c.period, c.lda, c.codes, c.scales,
                                           c.k, c.rows, abs_sums, threads);
  c.sums = std::move(reference.sums);
  c.abs_sums = std::move(reference.abs_sums);
}

/// Weights are multiples of 2^base / 2 of at most 24 * 2^base = 48 units, activations integers of
/// -4 to 4 whose magnitudes add up to less than 2^22 / 48 in every token.
void fill_exact(GateCase& c, uint64_t seed, int threads) {
  const int base = Random(seed, Random::scale, -1).below(15) - 9;  // subnormal scales too
  fill_weights(c, seed, threads, [&](Random& random, int64_t block) {
    const uint64_t codes = random.next();
    const int choice = random.below(256);
    const bool zero = choice < 4;
    const uint8_t magnitude = zero ? 0 : power_code(base + choice % 3);
    set_block(c, block, codes, static_cast<uint8_t>(magnitude | (choice % 8 == 1 ? 0x80 : 0)));
  });
  constexpr double kMeanMagnitude = 20.0 / 9;
  constexpr int kBudget = (1 << 22) / 48;
  const double density = std::min(1.0, 0.9 * kBudget / (kMeanMagnitude * static_cast<double>(c.k)));
  fill_tokens(c, seed, threads, [&](Random& random, int64_t, uint16_t* token) {
    int left = kBudget;
    for (int64_t k = 0; k < c.k; ++k) {
      const int value = random.below(9) - 4;
      const bool kept = density == 1 || random.unit() < density;
      if (!kept || std::abs(value) >= left) continue;
      token[k] = bits_of(static_cast<float>(value), c.act);
      left -= std::abs(value);
    }
  });
  // Sums are about 2^base * 15 * sqrt(k): the global scale brings them to where fp16 has room.
  const int growth = std::ilogb(std::sqrt(static_cast<double>(c.k)));
  fill_global_scales(c, seed, -base - growth);
}

/// One Inf and one NaN, in tokens that even a short launch has, and global scales at which fp16
/// overflows and underflows.
void add_specials(GateCase& c, uint64_t seed) {
  const auto spoil = [&](int64_t first, uint16_t bits) {
    for (int64_t token = first; token < c.m; token += c.period) {
      c.activations[token * c.lda +
                    Random(seed, Random::tokens, -1 - first).below(static_cast<int>(c.k))] = bits;
    }
  };
  spoil(0, c.act == Activation::bf16 ? 0x7f80 : 0x7c00);
  spoil(2, kNan16);
  for (size_t tile = 0; tile < c.global_scales.size(); ++tile) {
    if (tile % 4 == 1) c.global_scales[tile] = 0x1.8p100f;
    if (tile % 4 == 2) c.global_scales[tile] = -0x1.4p-100f;
  }
}

/// Weights as a quantised model has them: normal codes, scales over four octaves up to 448.
void fill_random(GateCase& c, uint64_t seed, int threads) {
  constexpr std::array<uint8_t, 16> kNormalCodes = {0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7};
  fill_weights(c, seed, threads, [&](Random& random, int64_t block) {
    const uint64_t ranks = random.next();
    const uint64_t signs = random.next();
    uint64_t codes = signs & 0x8888888888888888;
    for (int i = 0; i < kBlockSize; ++i) {
      codes |= static_cast<uint64_t>(kNormalCodes[ranks >> 4 * i & 15]) << 4 * i;
    }
    set_block(c, block, codes, static_cast<uint8_t>(0x5f + random.below(0x20)));
  });
  fill_tokens(c, seed, threads, [&](Random& random, int64_t, uint16_t* token) {
    for (int64_t k = 0; k < c.k; ++k) token[k] = bits_of(random.normal(), c.act);
  });
  fill_global_scales(c, seed, -12);
}

/// The rows that have an expectation: all while the reference stays below two thousand million
/// products, else the first and the last tile and one random row of each equal share of the rest.
void sample_rows(GateCase& c, uint64_t seed) {
  constexpr double kProducts = 2e9;
  const double share = kProducts / (static_cast<double>(c.n) * static_cast<double>(c.k * c.period));
  if (share >= 1) return;
  const int64_t wanted =
      std::max<int64_t>(static_cast<int64_t>(share * static_cast<double>(c.n)), 1);
  Random random(seed, Random::scale, -2);
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < wanted; ++i) {
    const int64_t first = c.n * i / wanted;
    rows.push_back(first + random.below(static_cast<int>(c.n * (i + 1) / wanted - first)));
  }
  for (int64_t i = 0; i < std::min<int64_t>(kTileRows, c.n); ++i) {
    rows.push_back(i);
    rows.push_back(c.n - 1 - i);
  }
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  c.rows = std::move(rows);
}

/// The largest number up to `limit` that shares no factor with `modulus`.
int64_t largest_coprime(int64_t limit, int64_t modulus) {
  while (std::gcd(limit, modulus) != 1) --limit;
  return limit;
}

/// Tokens visit a block each before any block is visited again, far apart. Block number b in order
/// of visits, row n, has place p = n + b * (about N): p % 254 chooses its scale code, p / 254 turns
/// its 16 codes, so the first tokens of all rows see place after place, and 4064 places are all
/// scale codes x all codes.
void fill_position(GateCase& c, int64_t first_visit, int threads) {
  constexpr int kScaleCodes = 254;  // all but the two NaN
  const int64_t blocks = c.k / kBlockSize;
  const int64_t stride = largest_coprime(std::max<int64_t>(blocks * 5 / 8, 1), blocks);
  std::vector<int64_t> visit(blocks);
  for (int64_t i = 0; i < blocks; ++i) visit[i * stride % blocks] = i;

  const int64_t row_step = largest_coprime(c.n, kScaleCodes * kBlockSize);
  parallel_for(c.n, threads, [&](int64_t row) {
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t place = row + row_step * visit[b];
      const int scale = static_cast<int>(place % kScaleCodes);
      uint64_t codes = 0;
      for (int64_t i = 0; i < kBlockSize; ++i) {
        const int64_t turned = place / kScaleCodes + i + 15 * visit[b];  // 15 = -1 mod 16
        codes |= static_cast<uint64_t>(turned % 16) << 4 * i;
      }
      set_block(c, row * blocks + b, codes, static_cast<uint8_t>(scale < 127 ? scale : scale + 1));
    }
  });

  c.period = c.m;
  c.hot_k.resize(c.m);
  for (int64_t token = 0; token < c.m; ++token) {
    const int64_t number = first_visit + token;
    const int64_t visited = number % blocks;
    const int64_t round = number / blocks;
    c.hot_k[token] = visited * stride % blocks * kBlockSize + (visited + round) % kBlockSize;
    // Once every k was visited the value changes, so that no two near tokens are equal.
    const float value = static_cast<float>(1 << number / c.k % 3);
    c.activations[token * c.lda + c.hot_k[token]] = bits_of(value, c.act);
  }
  for (size_t tile = 0; tile < c.global_scales.size(); ++tile) {
    c.global_scales[tile] = std::ldexp(1.0f, static_cast<int>(tile % 3) - 1);
  }
}

}  // namespace

std::string_view name(GateKind kind) {
  switch (kind) {
    case GateKind::exact:
      return "exact";
    case GateKind::position:
      return "position";
    case GateKind::random:
      return "random";
    case GateKind::special:
      break;
  }
  return "special";
}

GateCase make_gate_case(GateKind kind, const GateRequest& request, int threads) {
  GateCase c{.kind = kind,
             .name = std::string(name(kind)),
             .n = request.n,
             .k = request.k,
             .m = request.m,
             .act = request.act};
  c.lda = request.lda > 0 ? request.lda : request.k + 8;
  c.codes.resize(c.n * (c.k / 2));
  c.scales.resize(c.n * (c.k / kBlockSize));
  c.global_scales.resize((c.n + kTileRows - 1) / kTileRows);
  c.activations.resize(c.m * c.lda);
  for (int64_t token = 0; token < c.m; ++token) {
    std::fill(&c.activations[token * c.lda] + c.k, &c.activations[token * c.lda] + c.lda, kNan16);
  }
  c.rows.resize(c.n);
  std::iota(c.rows.begin(), c.rows.end(), 0);

  const uint64_t seed = request.seed * 4 + static_cast<uint64_t>(kind);
  switch (kind) {
    case GateKind::exact:
      fill_exact(c, seed, threads);
      break;
    case GateKind::special:
      fill_exact(c, seed, threads);
      add_specials(c, seed);
      break;
    case GateKind::random:
      fill_random(c, seed, threads);
      sample_rows(c, seed);
      break;
    case GateKind::position:
      fill_position(c, c.m * request.position_round, threads);
      if (request.position_round > 0) c.name += fmt::format(" round {}", request.position_round);
      return c;
  }
  if (request.bias) fill_bias(c, seed);
  expect_rows(c, kind == GateKind::random ? AbsSums::yes : AbsSums::no, threads);
  return c;
}

}  // namespace nvfp4
