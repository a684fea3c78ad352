// SPDX-License-Identifier: Apache-2.0
// A table column by column, for what reads every row of it. What the columns mean, schema.sql says.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace nvfp4 {

struct ColumnValues {
  std::string name;
  /// One a row; NaN for NULL. Integers beyond 2^53 are rounded. Of a column of text: positions in
  /// `words`.
  std::vector<double> numbers;
  /// The texts of a column of text, each once, in the order of their first rows; "" for NULL.
  std::optional<std::vector<std::string>> words;
};

struct TableColumns {
  std::string name;
  size_t rows = 0;
  std::vector<ColumnValues> columns;
};

}  // namespace nvfp4
