// SPDX-License-Identifier: Apache-2.0
// A database row as values, its checksum, and a reader that refuses what it does not expect. SQLite
// does not notice flipped bits in a row, so every row ends with a checksum of its own.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace nvfp4 {

struct Blob {
  std::string bytes;
  friend auto operator<=>(const Blob&, const Blob&) = default;
};

using Value = std::variant<std::monostate, int64_t, double, std::string, Blob>;
using Row = std::vector<Value>;

/// XXH3-64 of the table's name and then of each value: one type letter (n, i, f, t, b), then eight
/// little-endian bytes (the number, or the length of the text or blob), then the text or blob.
int64_t row_checksum(std::string_view table, std::span<const Value> row);

/// Why one row cannot be used. Thrown and caught inside this folder only.
struct BadRow {
  std::string reason;
};

/// Takes a row's values from left to right; a wrong type is a BadRow.
class RowReader {
 public:
  explicit RowReader(std::span<const Value> values) : values_(values) {}

  int64_t integer() { return take<int64_t>("an integer"); }
  double real() { return take<double>("a real"); }
  std::string text() { return take<std::string>("text"); }
  std::string blob() { return take<Blob>("a blob").bytes; }

  /// An integer from lo to hi.
  int64_t integer(int64_t lo, int64_t hi);
  bool boolean() { return integer(0, 1) == 1; }

  /// True, and the value is taken, when it is NULL.
  bool null();

 private:
  template <typename T>
  T take(const char* expected);
  [[noreturn]] void refuse(const char* expected) const;

  std::span<const Value> values_;
  size_t next_ = 0;
};

template <typename T>
T RowReader::take(const char* expected) {
  if (next_ >= values_.size() || !std::holds_alternative<T>(values_[next_])) refuse(expected);
  return std::get<T>(values_[next_++]);
}

}  // namespace nvfp4
