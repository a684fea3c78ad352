// SPDX-License-Identifier: Apache-2.0
#include "tuning_db/sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>

namespace nvfp4 {
namespace {

constexpr int kWriterTimeoutMs = 10'000;  // another tuner's commit takes milliseconds
constexpr int kReaderTimeoutMs = 2'000;

/// "file:" URI of a path, so that '?', '#' and '%' in a directory's name stay part of it.
std::string uri_of(const std::string& path) {
  std::string uri = "file:";
  for (const char c : path) {
    if (c == '?' || c == '#' || c == '%') {
      uri += fmt::format("%{:02x}", static_cast<unsigned char>(c));
    } else {
      uri += c;
    }
  }
  return uri;
}

/// A database may come from strangers: no code in it may run and no size in it is believed.
void harden(sqlite3* handle) {
  for (const int option : {SQLITE_DBCONFIG_DEFENSIVE, SQLITE_DBCONFIG_ENABLE_FKEY}) {
    sqlite3_db_config(handle, option, 1, nullptr);
  }
  for (const int option :
       {SQLITE_DBCONFIG_TRUSTED_SCHEMA, SQLITE_DBCONFIG_ENABLE_TRIGGER, SQLITE_DBCONFIG_ENABLE_VIEW,
        SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, SQLITE_DBCONFIG_DQS_DML, SQLITE_DBCONFIG_DQS_DDL}) {
    sqlite3_db_config(handle, option, 0, nullptr);
  }
  constexpr struct {
    int id;
    int value;
  } kLimits[] = {
      {SQLITE_LIMIT_LENGTH, 1 << 20},
      {SQLITE_LIMIT_SQL_LENGTH, 100'000},
      {SQLITE_LIMIT_COLUMN, 100},
      {SQLITE_LIMIT_EXPR_DEPTH, 10},
      {SQLITE_LIMIT_COMPOUND_SELECT, 3},
      {SQLITE_LIMIT_VDBE_OP, 25'000},
      {SQLITE_LIMIT_FUNCTION_ARG, 8},
      {SQLITE_LIMIT_ATTACHED, 0},
      {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50},
      {SQLITE_LIMIT_VARIABLE_NUMBER, 64},
      {SQLITE_LIMIT_TRIGGER_DEPTH, 10},
  };
  for (const auto& limit : kLimits) sqlite3_limit(handle, limit.id, limit.value);
}

std::string_view explain(int code) {
  switch (code & 0xff) {
    case SQLITE_FULL:
      return "disk full";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "locked by another process for too long";
    case SQLITE_READONLY:
      return "not writable";
    case SQLITE_CANTOPEN:
      return "cannot be opened";
    case SQLITE_CORRUPT:
      return "corrupt";
    case SQLITE_NOTADB:
      return "not a database";
    case SQLITE_IOERR:
      return "input/output error";
    case SQLITE_NOMEM:
      return "out of memory";
    default:
      return sqlite3_errstr(code);
  }
}

}  // namespace

bool SqliteError::is_corrupt() const {
  return (code_ & 0xff) == SQLITE_CORRUPT || (code_ & 0xff) == SQLITE_NOTADB;
}

bool SqliteError::is_storage() const {
  switch (code_ & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_BUSY:
      return true;
    default:
      return false;
  }
}

bool SqliteError::needs_recovery() const {
  return code_ == SQLITE_READONLY_ROLLBACK || code_ == SQLITE_READONLY_CANTLOCK;
}

void Connection::Close::operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }

Connection::Connection(const std::string& path, Access access, bool recover) : path_(path) {
  int flags = SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_PRIVATECACHE;
  std::string file = path;
  switch (access) {
    case Access::read_write:
      flags |= SQLITE_OPEN_READWRITE;
      break;
    case Access::read_only:
      flags |= recover ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
      break;
    case Access::immutable:
      flags |= SQLITE_OPEN_READONLY | SQLITE_OPEN_URI;
      file = uri_of(path) + "?mode=ro&immutable=1";
      break;
    case Access::memory:
      flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY;
      file = ":memory:";
      break;
  }
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(file.c_str(), &handle, flags, nullptr);
  handle_.reset(handle);
  if (code != SQLITE_OK) fail(code, "opening");
  harden(handle);
  sqlite3_busy_timeout(handle, access == Access::read_write ? kWriterTimeoutMs : kReaderTimeoutMs);
  execute("PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0");
  if (access == Access::read_only || access == Access::immutable) {
    execute("PRAGMA query_only=ON");
  }
}

void Connection::fail(int code, std::string_view doing) const {
  // The detail says which system call or page it was; errno alone is lost by now.
  const char* detail = handle_ ? sqlite3_errmsg(handle_.get()) : "out of memory";
  const std::string_view file = path_.empty() ? std::string_view("in memory") : path_;
  throw SqliteError(fmt::format("database {}: {} ({}, while {}, code {})", file, explain(code),
                                detail, doing, code),
                    code);
}

void Connection::execute(const char* sql) {
  const int code = sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) fail(code, "executing");
}

std::optional<int64_t> Connection::query_integer(const char* sql) {
  Statement statement(*this, sql);
  if (!statement.step()) return std::nullopt;
  const Row row = statement.row();
  if (const auto* value = std::get_if<int64_t>(&row[0])) return *value;
  return std::nullopt;
}

std::optional<std::string> Connection::query_text(const char* sql) {
  Statement statement(*this, sql);
  if (!statement.step()) return std::nullopt;
  const Row row = statement.row();
  if (const auto* value = std::get_if<std::string>(&row[0])) return *value;
  return std::nullopt;
}

bool Connection::in_transaction() const { return sqlite3_get_autocommit(handle_.get()) == 0; }

void Connection::vacuum() {
  // It attaches a file of its own.
  const int limit = sqlite3_limit(handle_.get(), SQLITE_LIMIT_ATTACHED, 1);
  execute("VACUUM");
  sqlite3_limit(handle_.get(), SQLITE_LIMIT_ATTACHED, limit);
}

bool Connection::read_only() const { return sqlite3_db_readonly(handle_.get(), "main") == 1; }

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Statement::Statement(const Connection& connection, const std::string& sql)
    : connection_(connection) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(connection.handle(), sql.c_str(),
                                      static_cast<int>(sql.size()), &statement, nullptr);
  statement_.reset(statement);
  if (code != SQLITE_OK) connection.fail(code, "preparing");
}

void Statement::bind(int parameter, const Value& value) {
  sqlite3_stmt* s = statement_.get();
  int code = SQLITE_OK;
  if (const auto* integer = std::get_if<int64_t>(&value)) {
    code = sqlite3_bind_int64(s, parameter, *integer);
  } else if (const auto* real = std::get_if<double>(&value)) {
    code = sqlite3_bind_double(s, parameter, *real);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    code = sqlite3_bind_text64(s, parameter, text->data(), text->size(), SQLITE_TRANSIENT,
                               SQLITE_UTF8);
  } else if (const auto* blob = std::get_if<Blob>(&value)) {
    code =
        sqlite3_bind_blob64(s, parameter, blob->bytes.data(), blob->bytes.size(), SQLITE_TRANSIENT);
    if (blob->bytes.empty()) code = sqlite3_bind_zeroblob(s, parameter, 0);  // not NULL
  } else {
    code = sqlite3_bind_null(s, parameter);
  }
  if (code != SQLITE_OK) connection_.fail(code, "binding");
}

bool Statement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  connection_.fail(code, sqlite3_stmt_readonly(statement_.get()) ? "reading" : "writing");
}

Row Statement::row() const {
  sqlite3_stmt* s = statement_.get();
  Row row(static_cast<size_t>(sqlite3_column_count(s)));
  for (int i = 0; i < static_cast<int>(row.size()); ++i) {
    switch (sqlite3_column_type(s, i)) {
      case SQLITE_INTEGER:
        row[i] = static_cast<int64_t>(sqlite3_column_int64(s, i));
        break;
      case SQLITE_FLOAT:
        row[i] = sqlite3_column_double(s, i);
        break;
      case SQLITE_TEXT: {
        const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(s, i));
        if (text == nullptr) connection_.fail(SQLITE_NOMEM, "reading");
        row[i] = std::string(text, static_cast<size_t>(sqlite3_column_bytes(s, i)));
        break;
      }
      case SQLITE_BLOB: {
        const auto* bytes = static_cast<const char*>(sqlite3_column_blob(s, i));
        const auto size = static_cast<size_t>(sqlite3_column_bytes(s, i));
        row[i] = Blob{size == 0 ? std::string() : std::string(bytes, size)};
        break;
      }
      default:
        break;
    }
  }
  return row;
}

Transaction::Transaction(Connection& connection, Kind kind)
    : connection_(connection), open_(sqlite3_get_autocommit(connection.handle()) != 0) {
  if (!open_) return;
  connection.execute(kind == Kind::read    ? "BEGIN"
                     : kind == Kind::write ? "BEGIN IMMEDIATE"
                                           : "BEGIN EXCLUSIVE");
}

Transaction::~Transaction() {
  // A failed commit may have rolled back already; then this is an error that says so.
  if (open_) sqlite3_exec(connection_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Transaction::commit() {
  if (!open_) return;
  connection_.execute("COMMIT");
  open_ = false;
}

int64_t insert_row(Connection& connection, const std::string& table, Row values) {
  const int64_t id =
      connection.query_integer(fmt::format("SELECT max(id) FROM {}", table).c_str()).value_or(0) +
      1;
  values.insert(values.begin(), id);
  values.emplace_back(row_checksum(table, values));
  store_row(connection, table, values);
  return id;
}

void store_row(const Connection& connection, const std::string& table, const Row& row) {
  std::string parameters = "?";
  for (size_t i = 1; i < row.size(); ++i) parameters += ",?";
  Statement statement(connection, fmt::format("INSERT INTO {} VALUES({})", table, parameters));
  for (size_t i = 0; i < row.size(); ++i) statement.bind(static_cast<int>(i) + 1, row[i]);
  statement.step();
}

void scan_rows(const Connection& connection, const std::string& table, const std::string& where,
               const Value& parameter, const VisitRow& visit, const VisitBad& bad) {
  Statement statement(connection, fmt::format("SELECT * FROM {}{}{} ORDER BY id", table,
                                              where.empty() ? "" : " WHERE ", where));
  if (where.find("?1") != std::string::npos) statement.bind(1, parameter);
  while (statement.step()) {
    const Row row = statement.row();
    const std::span<const Value> checked(row.data(), row.size() - 1);
    const int64_t id = std::get<int64_t>(row.front());
    try {
      if (row.back() != Value(row_checksum(table, checked))) throw BadRow{"checksum mismatch"};
      visit(id, RowReader(checked.subspan(1)));
    } catch (const BadRow& error) {
      bad(id, error.reason);
    }
  }
}

}  // namespace nvfp4
