// SPDX-License-Identifier: Apache-2.0
// A newer version only appends columns to tables and tables to the file, so a step is a list of
// values. A row's checksum covers the new columns too and is computed anew, but only where the old
// one was right: a damaged row stays a damaged row.
#include "tuning_db/migration.h"

#include <fmt/format.h>

#include <span>
#include <vector>

#include "tuning_db/schema.h"

namespace nvfp4 {
namespace {

/// The tables of version 1, each after those that it refers to.
constexpr const char* kTables[] = {"device",      "toolchain", "problem", "kernel",  "run",
                                   "measurement", "attempt",   "winner",  "baseline"};

struct Table {
  std::string name;
  std::vector<Row> rows;
};

/// What version `version` + 1 appends to each row of `table`.
Row appended(std::string_view table, int64_t version) {
  if (version != 1) return {};
  if (table == "problem") return {int64_t{0}};
  if (table == "run") return {"tune", "", "", 0.0, 0.0};
  if (table == "measurement") return {0.0, 0.0};
  if (table == "winner") return {"tuned"};
  return {};
}

Row upgraded(const std::string& table, Row row, int64_t version) {
  const Value old_checksum = row.back();
  row.pop_back();
  const bool sound = old_checksum == Value(row_checksum(table, row));
  for (; version < kSchemaVersion; ++version) {
    for (Value& value : appended(table, version)) row.push_back(std::move(value));
  }
  row.push_back(sound ? Value(row_checksum(table, row)) : old_checksum);
  return row;
}

std::vector<Table> upgraded_tables(const Connection& connection, int64_t version) {
  std::vector<Table> tables;
  for (const char* name : kTables) {
    Table table{.name = name};
    Statement rows(connection, fmt::format("SELECT * FROM {} ORDER BY id", name));
    while (rows.step()) table.rows.push_back(upgraded(name, rows.row(), version));
    tables.push_back(std::move(table));
  }
  return tables;
}

void fill(Connection& connection, const std::vector<Table>& tables) {
  create_tables(connection);
  for (const Table& table : tables) {
    for (const Row& row : table.rows) store_row(connection, table.name, row);
  }
}

}  // namespace

void create_tables(Connection& connection) {
  connection.execute(kSchemas[kSchemaVersion - 1]);
  connection.execute(fmt::format("PRAGMA application_id={}; PRAGMA user_version={}", kApplicationId,
                                 kSchemaVersion)
                         .c_str());
}

void migrate(Connection& connection, int64_t version) {
  const std::vector<Table> tables = upgraded_tables(connection, version);
  for (size_t i = tables.size(); i-- > 0;) {
    connection.execute(fmt::format("DROP TABLE {}", tables[i].name).c_str());
  }
  fill(connection, tables);
}

Connection migrated_copy(const Connection& connection, int64_t version) {
  Connection copy(connection.path(), Access::memory);
  copy.execute("PRAGMA foreign_keys=OFF");
  fill(copy, upgraded_tables(connection, version));
  copy.execute("PRAGMA foreign_keys=ON; PRAGMA query_only=ON");
  return copy;
}

}  // namespace nvfp4
