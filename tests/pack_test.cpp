// SPDX-License-Identifier: Apache-2.0
// The packed form against a scalar model written from the drawing in templates/packed_layout.h: one
// weight, four bits, one position at a time.
#include "runtime/pack.h"

#include <doctest/doctest.h>
#include <pthread.h>

#include <cmath>
#include <ctime>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "generator/problem.h"
#include "runtime/numerics.h"

using namespace nvfp4;

namespace {

struct Checkpoint {
  int64_t n, k;
  std::vector<uint8_t> codes, scales;

  Checkpoint(int64_t rows, int64_t depth)
      : n(rows), k(depth), codes(rows * depth / 2), scales(rows * depth / 16) {}

  uint8_t code(int64_t row, int64_t col) const {
    const uint8_t pair = codes[(row * k + col) / 2];
    return col % 2 == 0 ? pair & 15 : pair >> 4;
  }
  double value(int64_t row, int64_t col) const {
    return double{e2m1_value(code(row, col))} * e4m3_value(scales[(row * k + col) / 16]);
  }
  std::vector<uint8_t> packed(int threads = 1) const {
    std::vector<uint8_t> out(packed_bytes(n, k), 0xaa);
    pack(codes, scales, n, k, out, threads, "w");
    return out;
  }
};

Checkpoint random_checkpoint(int64_t n, int64_t k, unsigned seed) {
  std::mt19937 random(seed);
  Checkpoint result(n, k);
  for (uint8_t& code : result.codes) code = static_cast<uint8_t>(random());
  for (uint8_t& scale : result.scales) {
    do scale = static_cast<uint8_t>(random() % 16 == 0 ? random() % 2 * 128 : random());
    while (e4m3_is_nan(scale));
  }
  return result;
}

/// Packs weight by weight from the drawing.
std::vector<uint8_t> model_packed(const Checkpoint& w) {
  static const int kSign[4] = {15, 12, 9, 10};
  static const int kHighExponent[4] = {8, 5, 2, 14};
  static const int kLowExponent[4] = {7, 4, 1, 13};
  static const int kMantissa[4] = {6, 3, 0, 11};
  const int64_t tiles_k = (w.k + 63) / 64;
  std::vector<uint8_t> out((w.n + 63) / 64 * tiles_k * 2304);
  for (int64_t row = 0; row < w.n; ++row) {
    for (int64_t col = 0; col < w.k; ++col) {
      const uint8_t scale = w.scales[(row * w.k + col) / 16];
      int code = w.code(row, col);
      if (scale & 0x80) code ^= 8;
      if ((scale & 0x7f) == 0) code = 0;
      uint8_t* const tile = &out[(row / 64 * tiles_k + col / 64) * 2304];
      const int64_t unit = row % 64 / 16, r = row % 16, step = col % 64 / 16, c = col % 16;
      const int64_t g = r % 8, t = c % 8 / 2, h = c % 2, slot = r / 8 + 2 * (c / 8);
      const int64_t half = unit * 512 + (4 * g + t) * 16 + step * 4 + h * 2;
      const int bits = (code >> 3 & 1) << kSign[slot] | (code >> 2 & 1) << kHighExponent[slot] |
                       (code >> 1 & 1) << kLowExponent[slot] | (code & 1) << kMantissa[slot];
      tile[half] = static_cast<uint8_t>(tile[half] | bits);
      tile[half + 1] = static_cast<uint8_t>(tile[half + 1] | bits >> 8);
      int e5m3 = 0;
      if ((scale & 0x7f) != 0) {
        int exponent;  // s = fraction * 2^exponent, fraction in [1/2, 1)
        const double fraction = std::frexp(std::fabs(e4m3_value(scale)), &exponent);
        e5m3 = (exponent - 1 + 22) * 8 + static_cast<int>(fraction * 16) - 8;
      }
      tile[2048 + unit * 64 + g * 8 + step / 2 * 4 + r / 8 * 2 + step % 2] =
          static_cast<uint8_t>(e5m3);
    }
  }
  return out;
}

template <typename Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const PackError& error) {
    return error.what();
  }
  return "";
}

std::string unpack_refusal(const std::vector<uint8_t>& packed, int64_t n, int64_t k) {
  std::vector<uint8_t> codes(n * k / 2), scales(n * k / 16);
  return refusal([&] { unpack(packed, n, k, codes, scales, 1, "w"); });
}

}  // namespace

TEST_SUITE("pack") {
  TEST_CASE(
      "all scale bytes times all codes decode to the exact product, in every place of a tile") {
    // Row r, block b of a matrix of 64 x 256 blocks: each block holds the 16 codes, turned by its
    // place.
    int wrong = 0;
    for (int turn = 0; turn < 16; ++turn) {
      Checkpoint w(64, 256 * 16);
      for (int64_t row = 0; row < w.n; ++row) {
        for (int64_t b = 0; b < 256; ++b) {
          const auto scale = static_cast<uint8_t>(b + row * 5);
          w.scales[row * 256 + b] = e4m3_is_nan(scale) ? 0x38 : scale;
          for (int64_t i = 0; i < 8; ++i) {
            const int64_t low = (2 * i + turn) % 16, high = (2 * i + 1 + turn) % 16;
            w.codes[row * w.k / 2 + b * 8 + i] = static_cast<uint8_t>(low | high << 4);
          }
        }
      }
      const std::vector<uint8_t> packed = w.packed();
      wrong += packed != model_packed(w);
      if (turn % 5 != 0) continue;  // the slow accessor: every scale x every code each time
      for (int64_t row = 0; row < w.n; ++row) {
        for (int64_t col = 0; col < w.k; ++col) {
          wrong += decode_packed_weight(packed, w.n, w.k, row, col) != w.value(row, col);
        }
      }
    }
    CHECK(wrong == 0);
  }

  TEST_CASE("random matrices of any shape pack as the drawing says and come back canonical") {
    std::mt19937 random(7);
    for (int trial = 0; trial < 150; ++trial) {
      const auto n = static_cast<int64_t>(1 + random() % 200);
      const auto k = static_cast<int64_t>(16 * (1 + random() % 20));
      CAPTURE(n);
      CAPTURE(k);
      const Checkpoint w = random_checkpoint(n, k, random());
      const std::vector<uint8_t> packed = w.packed();
      REQUIRE(packed == model_packed(w));

      Checkpoint back(n, k);
      unpack(packed, n, k, back.codes, back.scales, 1 + trial % 3, "w");
      REQUIRE(back.packed() == packed);
      int wrong = 0;
      for (int64_t row = 0; row < n; ++row) {
        for (int64_t col = 0; col < k; ++col) {
          const uint8_t scale = back.scales[(row * k + col) / 16];
          wrong += back.value(row, col) != w.value(row, col);
          wrong += scale >= 0x80;
          wrong += scale == 0 && back.code(row, col) != 0;
        }
      }
      REQUIRE(wrong == 0);
    }
  }

  TEST_CASE("the sign of a zero weight is kept, and a negative scale turns it") {
    Checkpoint w(1, 16);
    w.codes[0] = 0x80;  // k 0: +0, k 1: -0
    w.scales[0] = 0xb8;
    const std::vector<uint8_t> packed = w.packed();
    CHECK(std::signbit(decode_packed_weight(packed, 1, 16, 0, 0)));
    CHECK_FALSE(std::signbit(decode_packed_weight(packed, 1, 16, 0, 1)));
  }

  TEST_CASE("padding holds zeros and nothing of the matrix leaks into it") {
    const Checkpoint w = random_checkpoint(1, 16, 3);
    const std::vector<uint8_t> packed = w.packed();
    CHECK(packed.size() == 2304);
    int nonzero = 0;
    for (const uint8_t byte : packed) nonzero += byte != 0;
    CHECK(nonzero <= 8 * 2 + 1);  // 16 codes in eight half-words, one scale
  }

  TEST_CASE("the number of threads does not change a byte") {
    const Checkpoint w = random_checkpoint(1000, 336, 4);
    const std::vector<uint8_t> one = w.packed(1);
    for (const int threads : {2, 3, 16, 1000}) CHECK(w.packed(threads) == one);
  }

  TEST_CASE("threads that the system does not give are made up for") {
    const Checkpoint w = random_checkpoint(1000, 336, 4);
    const std::vector<uint8_t> one = w.packed(1);
    pthread_attr_t usual, vast;
    REQUIRE(pthread_getattr_default_np(&usual) == 0);
    REQUIRE(pthread_attr_init(&vast) == 0);
    // A stack that no address space holds.
    REQUIRE(pthread_attr_setstacksize(&vast, size_t{1} << 47) == 0);
    REQUIRE(pthread_setattr_default_np(&vast) == 0);
    CHECK_THROWS_AS(std::jthread([] {}), std::system_error);
    std::vector<uint8_t> packed;
    CHECK_NOTHROW(packed = w.packed(4));
    pthread_setattr_default_np(&usual);
    CHECK(packed == one);
  }

  TEST_CASE("a NaN scale is refused with the tensor's name, row and block, the lowest first") {
    for (const int nan : {0x7f, 0xff}) {
      Checkpoint w(300, 160);
      w.scales[130 * 10 + 7] = static_cast<uint8_t>(nan);
      w.scales[131 * 10 + 2] = static_cast<uint8_t>(nan);
      w.scales[290 * 10] = static_cast<uint8_t>(nan);
      std::vector<uint8_t> out(packed_bytes(w.n, w.k));
      const std::string message = refusal(
          [&] { pack(w.codes, w.scales, w.n, w.k, out, 4, "model.layers.3.mlp.down_proj"); });
      CHECK(message == "model.layers.3.mlp.down_proj: block scale " +
                           std::string(nan == 0x7f ? "0x7f" : "0xff") +
                           " at row 130, block 7 is NaN");
    }
  }

  TEST_CASE("bad shapes and sizes are refused with both numbers") {
    const Checkpoint w(64, 64);
    std::vector<uint8_t> out(packed_bytes(64, 64));
    const auto refused = [&](int64_t n, int64_t k) {
      return refusal([&] { pack(w.codes, w.scales, n, k, out, 1, "w"); });
    };
    CHECK(refused(64, 64) == "");
    CHECK(refused(64, 100) == "w: K = 100 is not a multiple of 16");
    CHECK(refused(0, 64) == "w: N = 0 is below 1");
    CHECK(refused(-1, 64) != "");
    CHECK(refused(int64_t{1} << 62, int64_t{1} << 62) != "");
    CHECK(refused(32, 64) == "w: 2048 bytes of codes where 1024 are needed");
    out.pop_back();
    CHECK(refused(64, 64) == "w: 2303 bytes of packed weights where 2304 are needed");
    CHECK_THROWS_AS(decode_packed_weight(out, 64, 64, 0, 0), PackError);
    out.push_back(0);
    CHECK_THROWS_AS(decode_packed_weight(out, 64, 64, 64, 0), PackError);
    CHECK_THROWS_AS(decode_packed_weight(out, 64, 64, 0, -1), PackError);
  }

  TEST_CASE("bytes that pack never writes are refused, not repaired") {
    Checkpoint w = random_checkpoint(80, 80, 5);
    w.scales[0] = 0x38;
    const std::vector<uint8_t> packed = w.packed();
    CHECK(unpack_refusal(packed, 80, 80) == "");

    std::vector<uint8_t> scale = packed;
    scale[2048] = 0xf8;  // 2^9: beyond E4M3
    CHECK(unpack_refusal(scale, 80, 80) ==
          "w: packed tile at row 0, k 0 holds a scale byte that is no E4M3 number");

    std::vector<uint8_t> zero = packed;
    for (int i = 0; i < 512; ++i) zero[i] = 0xff;
    zero[2048] = 0;
    CHECK(unpack_refusal(zero, 80, 80) ==
          "w: packed tile at row 0, k 0 holds codes under a zero scale");

    std::vector<uint8_t> padding = packed;
    padding[2304 + 2048 + 1] = 0xa8;  // k 80..95 of row 0
    CHECK(unpack_refusal(padding, 80, 80) ==
          "w: packed tile at row 0, k 64 holds a scale in the padding");
  }

#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  TEST_CASE("packing handles at least a gigabyte of checkpoint a second of one core") {
    const Checkpoint w = random_checkpoint(4096, 4096, 6);
    std::vector<uint8_t> out(packed_bytes(w.n, w.k));
    const auto cpu_seconds = [] {
      timespec time;
      clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
      return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
    };
    double best = 0;
    for (int run = 0; run < 20; ++run) {
      const double start = cpu_seconds();
      pack(w.codes, w.scales, w.n, w.k, out, 1, "w");
      const double bytes = static_cast<double>(w.codes.size() + w.scales.size());
      best = std::max(best, bytes / (cpu_seconds() - start));
    }
    MESSAGE("pack: " << best / 1e9 << " GB/s a core");
    CHECK(best >= 1e9);
  }
#endif
}
