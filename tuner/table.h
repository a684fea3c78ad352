// SPDX-License-Identifier: Apache-2.0
// Rows of facts in the form that a person, a script or a spreadsheet wants. Table and Markdown show
// chosen columns, rounded; JSON, JSON lines and CSV carry every field in full.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tuner/command_line.h"

namespace nvfp4 {

/// A field as shown to people.
struct Column {
  std::string key;     ///< of the row's JSON object
  std::string header;  ///< "us"
  int decimals = -1;   ///< of a number; -1: as it is
  double scale = 1;    ///< a rounded number is shown times this, e.g. 100 for percent
};

/// A report: facts about all rows, the rows, and how people see them.
struct Table {
  nlohmann::ordered_json facts = nlohmann::ordered_json::object();  ///< top level of the JSON form
  std::vector<Column> columns;
  std::vector<nlohmann::ordered_json> rows;  ///< flat objects with the same keys
  std::vector<std::string> notes;            ///< lines under a table or Markdown
};

constexpr int kJsonSchema = 1;  ///< "schema" of every JSON document and line

/// Ends with a newline unless it is empty.
std::string render(const Table& table, Format format);

}  // namespace nvfp4
