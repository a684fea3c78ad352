// SPDX-License-Identifier: Apache-2.0
// The little of SQLite that the database needs, over its C interface: a defensively opened
// connection, statements, transactions, and checksummed rows. Errors name the file and what failed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tuning_db/row.h"
#include "tuning_db/tuning_db.h"

struct sqlite3;
struct sqlite3_stmt;

namespace nvfp4 {

/// A DatabaseError that knows SQLite's (extended) result code.
class SqliteError : public DatabaseError {
 public:
  SqliteError(const std::string& message, int code) : DatabaseError(message), code_(code) {}

  /// The file is not a database, or its pages contradict each other.
  bool is_corrupt() const;
  /// The disk is full or fails, the file cannot be written any more, or others keep it locked.
  bool is_storage() const;
  /// A dead writer left a journal that a read-only connection may not roll back.
  bool needs_recovery() const;

 private:
  int code_;
};

class Connection {
 public:
  /// `path` is absolute. Nothing is created. With `recover`, a read-only connection may roll back a
  /// dead writer's journal.
  Connection(const std::string& path, Access access, bool recover = false);

  /// Runs one or more statements without results.
  void execute(const char* sql);

  /// The first column of the first row of a query, as an integer or text; absent without a row.
  std::optional<int64_t> query_integer(const char* sql);
  std::optional<std::string> query_text(const char* sql);

  bool in_transaction() const;

  /// Rewrites the file without its free pages.
  void vacuum();

  /// True when SQLite could open the file only for reading.
  bool read_only() const;

  const std::string& path() const { return path_; }
  sqlite3* handle() const { return handle_.get(); }

  [[noreturn]] void fail(int code, std::string_view doing) const;

 private:
  struct Close {
    void operator()(sqlite3* handle) const;
  };
  std::string path_;
  std::unique_ptr<sqlite3, Close> handle_;
};

class Statement {
 public:
  Statement(const Connection& connection, const std::string& sql);

  /// Parameters count from 1.
  void bind(int parameter, const Value& value);

  /// True while there is a row.
  bool step();

  /// The current row.
  Row row() const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  const Connection& connection_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

/// Rolled back unless committed. A write transaction waits for other writers when it begins, a read
/// transaction sees one state of the file. Inside another one it is a part of that one.
class Transaction {
 public:
  enum class Kind : int { read, write, exclusive };
  Transaction(Connection& connection, Kind kind);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Connection& connection_;
  bool open_;
};

/// Appends (next id, values..., checksum) to `table` inside a write transaction; returns the id.
int64_t insert_row(Connection& connection, const std::string& table, Row values);

/// Writes a whole row, id and checksum included, as it is.
void store_row(const Connection& connection, const std::string& table, const Row& row);

/// Visits rows of `table` in id order, without id and checksum. `where` is an SQL condition, in
/// which ?1 is `parameter`, or empty. A row with a bad checksum, or whose visit throws BadRow, goes
/// to `bad` instead.
using VisitRow = std::function<void(int64_t id, RowReader values)>;
using VisitBad = std::function<void(int64_t id, const std::string& reason)>;
void scan_rows(const Connection& connection, const std::string& table, const std::string& where,
               const Value& parameter, const VisitRow& visit, const VisitBad& bad);

}  // namespace nvfp4
