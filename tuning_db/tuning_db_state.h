// SPDX-License-Identifier: Apache-2.0
// What is behind a TuningDb, for the files of this folder that make up its operations. Equal
// devices, problems and kernels share one row, found by comparing decoded rows, so that a row gone
// bad is not used again.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "generator/config_text.h"
#include "tuning_db/codec.h"
#include "tuning_db/database_file.h"
#include "tuning_db/migration.h"
#include "tuning_db/schema.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {

struct TuningDb::State {
  std::vector<std::string> warnings;
  Connection connection;

  bool on_disk;
  bool outlives_disk = false;

  /// In a batch, the ids of the rows that others refer to by what these hold, table by table. Only
  /// the batch writes meanwhile, and a scan for each of its rows would cost their number squared.
  using Known = std::map<std::string, std::map<Row, int64_t>>;
  std::optional<Known> known;

  State(const std::string& path, Access access)
      : connection(open_database(path, access, warnings)), on_disk(access == Access::read_write) {}

  /// Runs a change. If the disk refuses it and that is to be outlived, runs it in memory.
  template <typename Change>
  auto write(const Change& change) {
    const bool is_part = connection.in_transaction();  // of a batch, of which a part is lost
    try {
      return change();
    } catch (const SqliteError& error) {
      if (!outlives_disk || !on_disk || is_part || !error.is_storage()) throw;
      warnings.push_back(fmt::format("{}: results stay in memory and are not saved", error.what()));
    }
    connection = migrated_copy(connection, kSchemaVersion);
    connection.execute("PRAGMA query_only=OFF");
    on_disk = false;
    return change();
  }

  /// A file of a million bad rows is as bad as one of a hundred.
  static constexpr size_t kMaxWarnings = 100;

  void report(const std::string& table, int64_t id, const std::string& reason) {
    if (warnings.size() > kMaxWarnings) return;
    std::string line =
        fmt::format("database {}: {} row {} skipped: {}", connection.path(), table, id, reason);
    if (std::find(warnings.begin(), warnings.end(), line) != warnings.end()) return;
    if (warnings.size() == kMaxWarnings) {
      line = fmt::format("database {}: further bad rows are not named", connection.path());
    }
    warnings.push_back(std::move(line));
  }

  void scan(const std::string& table, const VisitRow& visit, const std::string& where = "",
            const Value& parameter = {}) {
    scan_rows(connection, table, where, parameter, visit,
              [&](int64_t id, const std::string& reason) { report(table, id, reason); });
  }

  /// The id of the valid row that equals `record`, made if there is none.
  template <typename Record, typename Decode>
  int64_t intern(const std::string& table, const Record& record, Decode decode,
                 const std::string& where = "", const Value& parameter = {}) {
    if (known) return known_id(table, record, decode);
    int64_t found = 0;
    scan(
        table,
        [&](int64_t id, RowReader row) {
          if (found == 0 && decode(row) == record) found = id;
        },
        where, parameter);
    return found != 0 ? found : insert_row(connection, table, encode(record));
  }

  template <typename Record, typename Decode>
  int64_t known_id(const std::string& table, const Record& record, Decode decode) {
    const auto [at, is_first] = known->try_emplace(table);
    std::map<Row, int64_t>& ids = at->second;
    if (is_first) {
      scan(table, [&](int64_t id, RowReader row) { ids.try_emplace(encode(decode(row)), id); });
    }
    const Row row = encode(record);
    if (const auto found = ids.find(row); found != ids.end()) return found->second;
    return ids[row] = insert_row(connection, table, row);
  }

  /// False when no winner has these columns. Outside a batch only the search itself can tell, which
  /// reads the whole table.
  bool may_replace(const Row& key) {
    if (!known) return true;
    const auto [at, is_first] = known->try_emplace("winner");
    if (is_first) {
      Statement rows(connection, "SELECT device,problem,policy,provenance,m_tuned FROM winner");
      while (rows.step()) at->second.try_emplace(rows.row(), 0);
    }
    return !at->second.try_emplace(key, 0).second;
  }

  int64_t device_id(const DeviceKey& device) { return intern("device", device, decode_device); }
  int64_t problem_id(const Problem& problem) { return intern("problem", problem, decode_problem); }
  int64_t kernel_id(const KernelRecord& kernel) {
    return intern("kernel", kernel, decode_kernel, "config=?1", config_text(kernel.config));
  }

  /// Every valid row that others refer to, with the kernels of those measurements alone that an SQL
  /// condition selects: kernels are as many as measurements.
  References references_of(const std::string& measurements, const Value& parameter = {}) {
    References r = references_without_kernels();
    scan(
        "kernel", [&](int64_t id, RowReader row) { r.kernels[id] = decode_kernel(row); },
        "id IN (SELECT kernel FROM measurement WHERE " + measurements + ")", parameter);
    return r;
  }

  /// The ids of the valid rows that equal `problem`: one, but for files that others made.
  std::vector<int64_t> problem_ids(const Problem& problem) {
    std::vector<int64_t> ids;
    scan("problem", [&](int64_t id, RowReader row) {
      if (decode_problem(row) == problem) ids.push_back(id);
    });
    return ids;
  }

  /// Every valid row that others refer to, or only those that one measurement refers to. Kernels
  /// are many, so only readers ask for all of them.
  References references(std::optional<int64_t> measurement = {}) {
    References r = references_without_kernels(measurement);
    scan_named("kernel", measurement, kOfRow,
               [&](int64_t id, RowReader row) { r.kernels[id] = decode_kernel(row); });
    return r;
  }

  References references_without_kernels(std::optional<int64_t> measurement = {}) {
    References r;
    scan_named("device", measurement, kOfRun,
               [&](int64_t id, RowReader row) { r.devices[id] = decode_device(row); });
    scan_named("toolchain", measurement, kOfRun,
               [&](int64_t id, RowReader row) { r.toolchains[id] = decode_toolchain(row); });
    scan_named("problem", measurement, kOfRow,
               [&](int64_t id, RowReader row) { r.problems[id] = decode_problem(row); });
    scan_named("run", measurement, kOfRow,
               [&](int64_t id, RowReader row) { r.runs[id] = decode_run(row, id, r); });
    return r;
  }

  /// Whose column names a row of the table that the column is called after.
  static constexpr const char* kOfRow = "id=(SELECT {} FROM measurement WHERE id=?1)";
  static constexpr const char* kOfRun =
      "id=(SELECT run.{} FROM measurement AS m JOIN run ON run.id=m.run WHERE m.id=?1)";

  void scan_named(const char* table, std::optional<int64_t> measurement, const char* named,
                  const VisitRow& visit) {
    if (!measurement) return scan(table, visit);
    scan(table, visit, fmt::format(fmt::runtime(named), table), *measurement);
  }

  /// Appends a record that belongs to a problem.
  template <typename Record>
  int64_t append(const std::string& table, const Record& record) {
    demand_valid(record, table.c_str());
    Transaction transaction(connection, Transaction::Kind::write);
    const int64_t id = insert_row(connection, table, encode(record, problem_id(record.problem)));
    transaction.commit();
    return id;
  }

  /// Every valid record of a table.
  template <typename Decode>
  auto read(const std::string& table, Decode decode) {
    Transaction transaction(connection, Transaction::Kind::read);
    const References of = references_without_kernels();
    std::vector<decltype(decode(RowReader({}), 0, of))> records;
    scan(table, [&](int64_t id, RowReader row) { records.push_back(decode(row, id, of)); });
    return records;
  }

  /// The device of a run of this database.
  DeviceKey device_of(int64_t run) {
    std::optional<DeviceKey> device;
    scan(
        "run",
        [&](int64_t, RowReader row) {
          scan(
              "device", [&](int64_t, RowReader values) { device = decode_device(values); }, "id=?1",
              row.integer());
        },
        "id=?1", run);
    if (!device) throw DatabaseError(fmt::format("database {}: no run {}", connection.path(), run));
    return *device;
  }

  Winner read_winner(RowReader row, const References& references) {
    Winner winner = decode_winner(row, references);
    if (const auto error = justify(winner, references)) throw BadRow{*error};
    return winner;
  }

  /// Why `winner` is not what its evidence shows; fills in what the evidence knows.
  std::optional<std::string> justify(Winner& winner, const References& references) {
    std::optional<Measurement> row;
    scan(
        "measurement",
        [&](int64_t id, RowReader values) { row = decode_measurement(values, id, references); },
        "id=?1", winner.evidence);
    if (!row) return fmt::format("evidence {} is missing or bad", winner.evidence);
    if (row->verdict != Verdict::ok) {
      return fmt::format("evidence {} has verdict {}", winner.evidence, name(row->verdict));
    }
    if (row->kernel.config != winner.config || row->problem != winner.problem ||
        row->device != winner.device || row->policy != winner.policy ||
        row->provenance != winner.provenance || row->m != winner.m_tuned) {
      return fmt::format("evidence {} is of another candidate", winner.evidence);
    }
    winner.code_hash = row->kernel.code_hash;
    winner.expected_us = row->timing.median_us;
    winner.f = row->timing.f;
    return std::nullopt;
  }

  template <typename Record>
  void demand_valid(const Record& record, const char* what) const {
    if (const auto error = record_error(record)) {
      throw DatabaseError(
          fmt::format("database {}: {} refused: {}", connection.path(), what, *error));
    }
  }
};

}  // namespace nvfp4
