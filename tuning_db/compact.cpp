// SPDX-License-Identifier: Apache-2.0
// Taking away what no reader asks for any more, then giving the pages back.
#include <fmt/format.h>

#include <map>
#include <set>
#include <tuple>

#include "tuning_db/tuning_db_state.h"

namespace nvfp4 {
namespace {

constexpr const char* kTables[] = {"device",   "toolchain",   "problem",      "kernel",
                                   "run",      "measurement", "attempt",      "winner",
                                   "baseline", "comparison",  "change_point", "rival"};

int64_t changes(Connection& connection) {
  return connection.query_integer("SELECT changes()").value_or(0);
}

int64_t file_bytes(Connection& connection) {
  return connection.query_integer("PRAGMA page_count").value_or(0) *
         connection.query_integer("PRAGMA page_size").value_or(0);
}

void remove_row(Connection& connection, const std::string& table, int64_t id) {
  Statement statement(connection, fmt::format("DELETE FROM {} WHERE id=?1", table));
  statement.bind(1, id);
  statement.step();
}

/// Rows whose checksum is wrong. A row of a table that others refer to may leave them dangling;
/// those were unreadable with it.
int64_t remove_damaged(Connection& connection) {
  int64_t removed = 0;
  for (const char* table : kTables) {
    std::vector<int64_t> damaged;
    scan_rows(
        connection, table, "", {}, [](int64_t, RowReader) {},
        [&](int64_t id, const std::string&) { damaged.push_back(id); });
    for (const int64_t id : damaged) remove_row(connection, table, id);
    removed += static_cast<int64_t>(damaged.size());
  }
  return removed;
}

/// Measurements that winners, comparisons or baselines name.
std::set<int64_t> named_measurements(Connection& connection) {
  std::set<int64_t> named;
  Statement statement(connection,
                      "SELECT evidence FROM winner UNION SELECT measurement FROM baseline UNION"
                      " SELECT base_measurement FROM comparison");
  Statement more(connection, "SELECT measurement FROM comparison");
  for (Statement* each : {&statement, &more}) {
    while (each->step()) {
      const Row row = each->row();
      if (const auto* id = std::get_if<int64_t>(&row[0])) named.insert(*id);
    }
  }
  return named;
}

/// Rows that a later one of the same candidate, toolchain and purpose replaces, as History sees it:
/// more samples, or as many and later; of failures the last one.
std::vector<int64_t> superseded(const std::vector<Measurement>& rows,
                                const std::set<int64_t>& named) {
  using Key = std::tuple<std::string, std::string, std::string, int64_t, Policy, Verdict, bool>;
  std::map<Key, const Measurement*> best;
  std::vector<int64_t> gone;
  const auto drop = [&](const Measurement& row) {
    if (!named.contains(row.id)) gone.push_back(row.id);
  };
  for (const Measurement& row : rows) {
    const Toolchain& tools = row.toolchain;
    // Rows of a benchmark are points of a series: each run's stays.
    if (row.purpose != Purpose::tune) continue;
    const Key key(
        config_text(row.kernel.config),
        fmt::format("{} {} {}", key_text(row.problem), row.device.sm_count, row.device.emulated),
        fmt::format("{} {} {} {}", tools.nvrtc, tools.driver, tools.template_digest,
                    row.kernel.code_hash),
        row.m, row.policy, row.verdict, row.provenance == Provenance::measured);
    const auto [slot, added] = best.emplace(key, &row);
    if (added) continue;
    const bool replaces = row.timing.samples >= slot->second->timing.samples;
    drop(replaces ? *slot->second : row);
    if (replaces) slot->second = &row;
  }
  return gone;
}

/// Rewrites a row without its raw samples, the one blob that it has.
void forget_samples(Connection& connection, int64_t id) {
  Statement select(connection, "SELECT * FROM measurement WHERE id=?1");
  select.bind(1, id);
  if (!select.step()) return;
  Row row = select.row();
  row.pop_back();
  for (Value& value : row) {
    if (auto* blob = std::get_if<Blob>(&value)) blob->bytes.clear();
  }
  Statement update(connection, "UPDATE measurement SET samples_us=?1, checksum=?2 WHERE id=?3");
  update.bind(1, Blob{});
  update.bind(2, row_checksum("measurement", row));
  update.bind(3, id);
  update.step();
}

int64_t remove_unused(Connection& connection) {
  constexpr const char* kStatements[] = {
      "DELETE FROM run WHERE id NOT IN (SELECT run FROM measurement) AND id NOT IN"
      " (SELECT run FROM attempt) AND id NOT IN (SELECT run FROM rival) AND id NOT IN"
      " (SELECT run FROM comparison) AND id NOT IN (SELECT base_run FROM comparison) AND id NOT IN"
      " (SELECT run FROM change_point)",
      "DELETE FROM kernel WHERE id NOT IN (SELECT kernel FROM measurement)",
      "DELETE FROM problem WHERE id NOT IN (SELECT problem FROM measurement) AND id NOT IN"
      " (SELECT problem FROM attempt) AND id NOT IN (SELECT problem FROM winner) AND id NOT IN"
      " (SELECT problem FROM rival) AND id NOT IN (SELECT problem FROM comparison) AND id NOT IN"
      " (SELECT problem FROM change_point)",
      "DELETE FROM toolchain WHERE id NOT IN (SELECT toolchain FROM run)",
      "DELETE FROM device WHERE id NOT IN (SELECT device FROM run) AND id NOT IN"
      " (SELECT device FROM winner)",
  };
  int64_t removed = 0;
  for (const char* statement : kStatements) {
    connection.execute(statement);
    removed += changes(connection);
  }
  return removed;
}

}  // namespace

TuningDb::Compaction TuningDb::compact() {
  Connection& connection = state_->connection;
  Compaction result{.bytes_before = file_bytes(connection)};
  // Rows that refer to a damaged one would keep it; they are looked for below.
  connection.execute("PRAGMA foreign_keys=OFF");
  {
    Transaction transaction(connection, Transaction::Kind::write);
    result.bad_rows = remove_damaged(connection);
    const std::vector<Measurement> rows = measurements();
    const std::set<int64_t> named = named_measurements(connection);
    const std::vector<int64_t> gone = superseded(rows, named);
    for (const int64_t id : gone) remove_row(connection, "measurement", id);
    result.measurements = static_cast<int64_t>(gone.size());
    const std::set<int64_t> removed(gone.begin(), gone.end());
    for (const Measurement& row : rows) {
      // A benchmark's samples are what later runs are compared with.
      const bool kept = row.purpose == Purpose::bench || named.contains(row.id);
      if (kept || row.samples_us.empty() || removed.contains(row.id)) continue;
      forget_samples(connection, row.id);
      ++result.samples;
    }
    result.unused = remove_unused(connection);
    transaction.commit();
  }
  connection.execute("PRAGMA foreign_keys=ON");
  connection.vacuum();
  result.bytes_after = file_bytes(connection);
  return result;
}

}  // namespace nvfp4
