// SPDX-License-Identifier: Apache-2.0
#include "tuner/dashboard_data.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "tuning_db/schema.h"

namespace nvfp4 {
namespace {

struct NumberType {
  const char* name;
  int bytes;
};
constexpr NumberType kU8{"u8", 1}, kU16{"u16", 2}, kU32{"u32", 4}, kF32{"f32", 4}, kF64{"f64", 8};

NumberType narrowest(const std::vector<double>& numbers) {
  constexpr double kEnd32 = 4294967296.0;
  bool is_count = true, is_single = true;
  double most = 0;
  for (const double value : numbers) {
    is_count = is_count && value >= 0 && value < kEnd32 && value == std::floor(value) &&
               !std::signbit(value);
    is_single = is_single && (std::isnan(value) || static_cast<float>(value) == value);
    most = std::max(most, value);
  }
  if (is_count) return most < 256 ? kU8 : most < 65536 ? kU16 : kU32;
  return is_single ? kF32 : kF64;
}

uint64_t bits_of(double value, const NumberType& type) {
  if (type.name == kF64.name) return std::bit_cast<uint64_t>(value);
  if (type.name == kF32.name) return std::bit_cast<uint32_t>(static_cast<float>(value));
  return static_cast<uint64_t>(value);
}

void append_planes(std::string& out, const std::vector<double>& numbers, const NumberType& type) {
  for (int byte = 0; byte < type.bytes; ++byte) {
    for (const double value : numbers) {
      out += static_cast<char>(bits_of(value, type) >> (8 * byte) & 0xff);
    }
  }
}

}  // namespace

std::string dashboard_data(std::span<const TableColumns> tables) {
  nlohmann::ordered_json header = {{"schema", kSchemaVersion},
                                   {"tables", nlohmann::ordered_json::object()}};
  std::string planes;
  for (const TableColumns& table : tables) {
    nlohmann::ordered_json columns = nlohmann::ordered_json::array();
    for (const ColumnValues& column : table.columns) {
      const NumberType type = narrowest(column.numbers);
      nlohmann::ordered_json described = {{"name", column.name}, {"type", type.name}};
      if (column.words) described["words"] = *column.words;
      columns.push_back(std::move(described));
      append_planes(planes, column.numbers, type);
    }
    header["tables"][table.name] = {{"rows", table.rows}, {"columns", std::move(columns)}};
  }
  // Text that is no UTF-8 is shown as far as it is.
  const std::string text = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string out = "nvfp4col";
  for (int byte = 0; byte < 4; ++byte) out += static_cast<char>(text.size() >> (8 * byte) & 0xff);
  return out + text + planes;
}

}  // namespace nvfp4
