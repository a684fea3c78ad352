// SPDX-License-Identifier: Apache-2.0
#include "tuning_db/row.h"

#include <fmt/format.h>

#include <bit>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace nvfp4 {
namespace {

void append_word(std::string& bytes, char type, uint64_t word) {
  bytes += type;
  for (int shift = 0; shift < 64; shift += 8) bytes += static_cast<char>(word >> shift);
}

void append_bytes(std::string& bytes, char type, std::string_view value) {
  append_word(bytes, type, value.size());
  bytes += value;
}

void append_value(std::string& bytes, const Value& value) {
  if (const auto* integer = std::get_if<int64_t>(&value)) {
    append_word(bytes, 'i', static_cast<uint64_t>(*integer));
  } else if (const auto* real = std::get_if<double>(&value)) {
    // SQLite stores -0.0 as the integer 0, so both zeros count as one.
    append_word(bytes, 'f', std::bit_cast<uint64_t>(*real + 0.0));
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    append_bytes(bytes, 't', *text);
  } else if (const auto* blob = std::get_if<Blob>(&value)) {
    append_bytes(bytes, 'b', blob->bytes);
  } else {
    append_word(bytes, 'n', 0);
  }
}

}  // namespace

int64_t row_checksum(std::string_view table, std::span<const Value> row) {
  std::string bytes;
  append_bytes(bytes, 't', table);
  for (const Value& value : row) append_value(bytes, value);
  return static_cast<int64_t>(XXH3_64bits(bytes.data(), bytes.size()));
}

int64_t RowReader::integer(int64_t lo, int64_t hi) {
  const int64_t value = integer();
  if (value < lo || value > hi) {
    throw BadRow{fmt::format("column {} is {}, outside {}..{}", next_, value, lo, hi)};
  }
  return value;
}

bool RowReader::null() {
  if (next_ >= values_.size() || !std::holds_alternative<std::monostate>(values_[next_])) {
    return false;
  }
  ++next_;
  return true;
}

void RowReader::refuse(const char* expected) const {
  throw BadRow{fmt::format("column {} is not {}", next_ + 1, expected)};
}

}  // namespace nvfp4
