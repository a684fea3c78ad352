// SPDX-License-Identifier: Apache-2.0
// SQLite without the product's care, for tests that play the stranger who edits a file.
#pragma once

#include <doctest/doctest.h>
#include <sqlite3.h>

#include <string>

#include "tuning_db/row.h"

namespace nvfp4 {

inline void execute_sql(const std::string& path, const std::string& sql) {
  sqlite3* handle = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &handle) == SQLITE_OK);
  CHECK_MESSAGE(sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK,
                sqlite3_errmsg(handle));
  sqlite3_close(handle);
}

/// Applies "column = value" to a row and gives it the checksum that belongs to it, as a stranger
/// with our source code would. False when SQLite itself refuses the value.
inline bool forge_row(const std::string& path, const std::string& table, int64_t id,
                      const std::string& assignment) {
  sqlite3* handle = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &handle) == SQLITE_OK);
  const std::string where = " WHERE id = " + std::to_string(id);
  const std::string update = "UPDATE " + table + " SET " + assignment + where;
  const bool accepted =
      sqlite3_exec(handle, update.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK;
  Row row;
  sqlite3_stmt* select = nullptr;
  sqlite3_prepare_v2(handle, ("SELECT * FROM " + table + where).c_str(), -1, &select, nullptr);
  REQUIRE(sqlite3_step(select) == SQLITE_ROW);
  for (int i = 0; i + 1 < sqlite3_column_count(select); ++i) {
    const auto* bytes = static_cast<const char*>(sqlite3_column_blob(select, i));
    const auto size = static_cast<size_t>(sqlite3_column_bytes(select, i));
    switch (sqlite3_column_type(select, i)) {
      case SQLITE_INTEGER:
        row.emplace_back(int64_t{sqlite3_column_int64(select, i)});
        break;
      case SQLITE_FLOAT:
        row.emplace_back(sqlite3_column_double(select, i));
        break;
      case SQLITE_TEXT:
        row.emplace_back(std::string(bytes, size));
        break;
      case SQLITE_BLOB:
        row.emplace_back(Blob{std::string(bytes, size)});
        break;
      default:
        row.emplace_back();
    }
  }
  sqlite3_finalize(select);
  sqlite3_close(handle);
  execute_sql(path, "UPDATE " + table +
                        " SET checksum = " + std::to_string(row_checksum(table, row)) + where);
  return accepted;
}

}  // namespace nvfp4
