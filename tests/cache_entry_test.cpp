// SPDX-License-Identifier: Apache-2.0
// What an entry holds, and that no damage to it goes unnoticed.
#include "runtime/cache_entry.h"

#include <doctest/doctest.h>

#include "tests/cache_fixture.h"

namespace nvfp4 {

TEST_CASE("an entry gives back what was stored, and nothing for another key") {
  const std::string bytes = encode_entry(kKey, "source", sample_compilation());
  CHECK(decode_entry(bytes, kKey) == sample_compilation());
  CHECK_FALSE(decode_entry(bytes, key_of(1)));
}

TEST_CASE("an entry holds its source and log in clear text") {
  const std::string bytes = encode_entry(kKey, "the source", sample_compilation());
  CHECK(bytes.find("the source") != std::string::npos);
  CHECK(bytes.find("Used 90 registers") != std::string::npos);
}

TEST_CASE("every truncation and every flipped bit of an entry is noticed") {
  const std::string bytes = encode_entry(kKey, "source", sample_compilation(300));
  for (size_t size = 0; size < bytes.size(); ++size) {
    REQUIRE_FALSE(decode_entry(std::string_view(bytes).substr(0, size), kKey));
  }
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] ^= static_cast<char>(1 << (bit % 8));
    REQUIRE_FALSE(decode_entry(flipped, kKey));
  }
  CHECK_FALSE(decode_entry(bytes + "x", kKey));
}

}  // namespace nvfp4
