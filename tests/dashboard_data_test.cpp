// SPDX-License-Identifier: Apache-2.0
// Columns as the bytes that the page reads. The browser's side is tested in
// dashboard/tests.
#include "tuner/dashboard_data.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

namespace nvfp4 {
namespace {

using Numbers = std::vector<double>;
using Words = std::vector<std::string>;

struct Decoded {
  nlohmann::json header;
  std::string planes;
};

Decoded decoded(const std::string& data) {
  REQUIRE(data.substr(0, 8) == "nvfp4col");
  size_t length = 0;
  for (size_t i = 0; i < 4; ++i) length += size_t{static_cast<uint8_t>(data[8 + i])} << (8 * i);
  return {nlohmann::json::parse(data.substr(12, length)), data.substr(12 + length)};
}

/// The type and bytes of a column of these numbers alone.
std::pair<std::string, std::string> stored(const Numbers& numbers) {
  const std::vector<TableColumns> tables = {{"t", numbers.size(), {{"c", numbers, {}}}}};
  const Decoded made = decoded(dashboard_data(tables));
  return {made.header["tables"]["t"]["columns"][0]["type"], made.planes};
}

}  // namespace

TEST_SUITE("dashboard_data") {
  TEST_CASE("numbers take the narrowest type that keeps them, lowest bytes first") {
    using Stored = std::pair<std::string, std::string>;
    using namespace std::string_literals;
    CHECK(stored({0, 255}) == Stored{"u8", "\x00\xff"s});
    CHECK(stored({0x102, 0x304}) == Stored{"u16", "\x02\x04\x01\x03"s});
    CHECK(stored({0x10000, 4294967295.0}) == Stored{"u32", "\x00\xff\x00\xff\x01\xff\x00\xff"s});
    CHECK(stored({1.5, -2}) == Stored{"f32", "\x00\x00\x00\x00\xc0\x00\x3f\xc0"s});
    CHECK(stored({4294967296.0}).first == "f32");
    CHECK(stored({0.1}) == Stored{"f64", "\x9a\x99\x99\x99\x99\x99\xb9\x3f"s});
    CHECK(stored({std::nan("")}).first == "f32");
    CHECK(stored({-0.0}).first == "f32");
    CHECK(stored({}) == Stored{"u8", ""});
  }

  TEST_CASE("the header says what stands where, and text that is no UTF-8 does not stop it") {
    const std::vector<TableColumns> tables = {
        {"run", 2, {{"id", {1, 2}, {}}, {"command", {0, 1}, Words{"bench", "a\xff"}}}}};
    const Decoded made = decoded(dashboard_data(tables));
    CHECK(made.header["schema"] == 2);
    const nlohmann::json& run = made.header["tables"]["run"];
    CHECK(run["rows"] == 2);
    CHECK_FALSE(run["columns"][0].contains("words"));
    CHECK(run["columns"][1]["name"] == "command");
    CHECK(run["columns"][1]["words"] == Words{"bench", "a\xef\xbf\xbd"});
    CHECK(made.planes == std::string("\x01\x02\x00\x01", 4));
  }
}

}  // namespace nvfp4
