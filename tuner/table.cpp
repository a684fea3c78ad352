// SPDX-License-Identifier: Apache-2.0
// The five forms of a table.
#include "tuner/table.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/quoted_name.h"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostShown = 8192;  // bytes of a cell: names and reasons come from files of others

std::string plain(const Json& value) {
  if (value.is_null()) return "";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string shown(const Json& row, const Column& column) {
  const Json& value = row.at(column.key);
  if (value.is_null()) return "-";
  if (!value.is_number() || column.decimals < 0) return printable(plain(value), kMostShown);
  return fmt::format("{:.{}f}", value.get<double>() * column.scale, column.decimals);
}

// What a spreadsheet would take for a formula gets an apostrophe: names come from files of others.
std::string csv_field(std::string text) {
  if (!text.empty() && std::string_view("=+@").find(text[0]) != std::string_view::npos) {
    text.insert(text.begin(), '\'');
  }
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

std::string csv(const Table& table) {
  std::string text;
  if (table.rows.empty()) return text;
  for (const auto& [key, value] : table.rows.front().items()) {
    text += text.empty() ? key : "," + key;
  }
  text += '\n';
  for (const Json& row : table.rows) {
    bool first = true;
    for (const auto& [key, value] : row.items()) {
      if (!first) text += ',';
      first = false;
      text += csv_field(plain(value));
    }
    text += '\n';
  }
  return text;
}

// Numbers stand right, text left; the last column is not padded.
std::string aligned(const Table& table, bool markdown) {
  std::vector<std::vector<std::string>> cells(1);
  for (const Column& column : table.columns) cells[0].push_back(column.header);
  for (const Json& row : table.rows) {
    cells.emplace_back();
    for (const Column& column : table.columns) cells.back().push_back(shown(row, column));
  }
  const size_t count = table.columns.size();
  std::vector<size_t> width(count);
  std::vector<bool> right(count);
  for (size_t c = 0; c < count; ++c) {
    for (const auto& line : cells) width[c] = std::max(width[c], line[c].size());
    right[c] = std::any_of(table.rows.begin(), table.rows.end(), [&](const Json& row) {
      return row.at(table.columns[c].key).is_number();
    });
  }
  std::string text;
  for (size_t line = 0; line < cells.size(); ++line) {
    std::string out = markdown ? "| " : "";
    for (size_t c = 0; c < count; ++c) {
      const bool last = c + 1 == count && !markdown;
      out += right[c] ? fmt::format("{:>{}}", cells[line][c], width[c])
                      : fmt::format("{:<{}}", cells[line][c], last ? 0 : width[c]);
      if (c + 1 < count) out += markdown ? " | " : "  ";
    }
    text += out + (markdown ? " |\n" : "\n");
    if (line > 0 || !markdown) continue;
    text += "|";
    for (size_t c = 0; c < count; ++c) text += right[c] ? " ---: |" : " --- |";
    text += "\n";
  }
  if (!table.notes.empty()) text += "\n";
  for (const std::string& note : table.notes) text += note + "\n";
  return text;
}

}  // namespace

std::string render(const Table& table, Format format) {
  switch (format) {
    case Format::table:
      return aligned(table, false);
    case Format::md:
      return aligned(table, true);
    case Format::csv:
      return csv(table);
    case Format::json: {
      Json document = {{"schema", kJsonSchema}};
      document.update(table.facts);
      document["rows"] = table.rows;
      return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
    }
    case Format::jsonl: {
      std::string text;
      for (const Json& row : table.rows) {
        Json line = {{"schema", kJsonSchema}};
        line.update(row);
        text += line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
      }
      return text;
    }
  }
  return {};
}

}  // namespace nvfp4
