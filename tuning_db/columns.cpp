// SPDX-License-Identifier: Apache-2.0
#include "tuning_db/columns.h"

#include <cmath>
#include <unordered_map>
#include <utility>

#include "tuning_db/tuning_db_state.h"

namespace nvfp4 {
namespace {

enum class Kind : int { integer, real, text, blob };

/// One column while it is filled.
struct Filling {
  Kind kind = Kind::blob;
  ColumnValues values;
  std::unordered_map<std::string, double> positions;

  double position_of(std::string text) {
    const auto [known, is_new] = positions.try_emplace(text, values.words->size());
    if (is_new) values.words->push_back(std::move(text));
    return known->second;
  }

  /// Takes the next value of a row; of a blob it says nothing.
  double number_of(RowReader& row) {
    if (row.null()) return kind == Kind::text ? position_of("") : std::nan("");
    switch (kind) {
      case Kind::integer:
        return static_cast<double>(row.integer());
      case Kind::real:
        return row.real();
      case Kind::text:
        return position_of(row.text());
      case Kind::blob:
        row.blob();
    }
    return 0;
  }
};

Kind kind_of(const std::string& type) {
  return type == "INTEGER" ? Kind::integer
         : type == "REAL"  ? Kind::real
         : type == "TEXT"  ? Kind::text
                           : Kind::blob;
}

/// What stands between id and checksum.
std::vector<Filling> columns_between(const Connection& connection, const std::string& table) {
  Statement statement(connection, "SELECT name, type FROM pragma_table_info(?1) ORDER BY cid");
  statement.bind(1, table);
  std::vector<Filling> columns;
  while (statement.step()) {
    const Row row = statement.row();
    const std::string& name = std::get<std::string>(row[0]);
    if (name == "id" || name == "checksum") continue;
    Filling column{.kind = kind_of(std::get<std::string>(row[1])), .values = {.name = name}};
    if (column.kind == Kind::text) column.values.words.emplace();
    columns.push_back(std::move(column));
  }
  return columns;
}

std::vector<std::string> table_names(const Connection& connection) {
  Statement statement(connection,
                      "SELECT name FROM sqlite_schema WHERE type='table' ORDER BY name");
  std::vector<std::string> names;
  while (statement.step()) names.push_back(std::get<std::string>(statement.row().front()));
  return names;
}

}  // namespace

std::vector<TableColumns> TuningDb::columns() {
  Transaction transaction(state_->connection, Transaction::Kind::read);
  std::vector<TableColumns> tables;
  for (std::string& name : table_names(state_->connection)) {
    std::vector<Filling> filling = columns_between(state_->connection, name);
    ColumnValues ids{.name = "id"};
    std::vector<double> numbers(filling.size());
    state_->scan(name, [&](int64_t id, RowReader row) {
      // A row that turns out to be bad on the way leaves nothing behind.
      for (size_t i = 0; i < filling.size(); ++i) numbers[i] = filling[i].number_of(row);
      ids.numbers.push_back(static_cast<double>(id));
      for (size_t i = 0; i < filling.size(); ++i) filling[i].values.numbers.push_back(numbers[i]);
    });
    TableColumns table{.name = std::move(name), .rows = ids.numbers.size()};
    table.columns.push_back(std::move(ids));
    for (Filling& column : filling) {
      if (column.kind != Kind::blob) table.columns.push_back(std::move(column.values));
    }
    tables.push_back(std::move(table));
  }
  return tables;
}

}  // namespace nvfp4
