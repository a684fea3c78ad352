// SPDX-License-Identifier: Apache-2.0
// Every public operation is one transaction over a handful of tables. Equal devices, problems and
// kernels share one row, found by comparing decoded rows, so that a row gone bad is not used again.
#include "tuning_db/tuning_db.h"

#include <fmt/format.h>

#include <algorithm>

#include "generator/config_text.h"
#include "tuning_db/codec.h"
#include "tuning_db/database_file.h"

namespace nvfp4 {

struct TuningDb::State {
  std::vector<std::string> warnings;
  Connection connection;

  State(const std::string& path, Access access)
      : connection(open_database(path, access, warnings)) {}

  void report(const std::string& table, int64_t id, const std::string& reason) {
    std::string line =
        fmt::format("database {}: {} row {} skipped: {}", connection.path(), table, id, reason);
    if (std::find(warnings.begin(), warnings.end(), line) == warnings.end()) {
      warnings.push_back(std::move(line));
    }
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
    int64_t found = 0;
    scan(
        table,
        [&](int64_t id, RowReader row) {
          if (found == 0 && decode(row) == record) found = id;
        },
        where, parameter);
    return found != 0 ? found : insert_row(connection, table, encode(record));
  }

  int64_t device_id(const DeviceKey& device) { return intern("device", device, decode_device); }
  int64_t problem_id(const Problem& problem) { return intern("problem", problem, decode_problem); }
  int64_t kernel_id(const KernelRecord& kernel) {
    return intern("kernel", kernel, decode_kernel, "config=?1", config_text(kernel.config));
  }

  /// Every valid row that others refer to. Kernels are many, so only readers ask for them.
  References references() {
    References r = references_without_kernels();
    scan("kernel", [&](int64_t id, RowReader row) { r.kernels[id] = decode_kernel(row); });
    return r;
  }

  References references_without_kernels() {
    References r;
    scan("device", [&](int64_t id, RowReader row) { r.devices[id] = decode_device(row); });
    scan("toolchain", [&](int64_t id, RowReader row) { r.toolchains[id] = decode_toolchain(row); });
    scan("problem", [&](int64_t id, RowReader row) { r.problems[id] = decode_problem(row); });
    scan("run", [&](int64_t id, RowReader row) { r.runs[id] = decode_run(row, id, r); });
    return r;
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

TuningDb::TuningDb(const std::string& path, Access access)
    : state_(std::make_unique<State>(path, access)) {}
TuningDb::~TuningDb() = default;
TuningDb::TuningDb(TuningDb&&) noexcept = default;
TuningDb& TuningDb::operator=(TuningDb&&) noexcept = default;

const std::string& TuningDb::path() const { return state_->connection.path(); }
const std::vector<std::string>& TuningDb::warnings() const { return state_->warnings; }

TuningDb::Batch::Batch(TuningDb& database)
    : transaction_(
          std::make_unique<Transaction>(database.state_->connection, Transaction::Kind::write)) {}
TuningDb::Batch::~Batch() = default;
void TuningDb::Batch::commit() { transaction_->commit(); }

int64_t TuningDb::add_run(const RunRecord& run) {
  state_->demand_valid(run, "run");
  Transaction transaction(state_->connection, Transaction::Kind::write);
  const RunIds ids{.device = state_->device_id(run.device),
                   .toolchain = state_->intern("toolchain", run.toolchain, decode_toolchain)};
  const int64_t id = insert_row(state_->connection, "run", encode(run, ids));
  transaction.commit();
  return id;
}

std::vector<RunRecord> TuningDb::runs() { return state_->read("run", decode_run); }

std::vector<int64_t> TuningDb::add(int64_t run, std::span<const Measurement> measurements) {
  Transaction transaction(state_->connection, Transaction::Kind::write);
  const DeviceKey device = state_->device_of(run);
  for (Measurement measurement : measurements) {
    measurement.device = device;
    state_->demand_valid(measurement, "measurement");
  }
  std::vector<int64_t> ids;
  for (const Measurement& measurement : measurements) {
    const MeasurementIds of{.run = run,
                            .kernel = state_->kernel_id(measurement.kernel),
                            .problem = state_->problem_id(measurement.problem)};
    ids.push_back(insert_row(state_->connection, "measurement", encode(measurement, of)));
  }
  transaction.commit();
  return ids;
}

int64_t TuningDb::add(int64_t run, const Measurement& measurement) {
  return add(run, std::span(&measurement, 1)).front();
}

void TuningDb::start(int64_t run, const Problem& problem, const KernelConfig& config) {
  Transaction transaction(state_->connection, Transaction::Kind::write);
  insert_row(state_->connection, "attempt",
             {run, state_->problem_id(problem), config_text(config)});
  transaction.commit();
}

std::vector<Suspect> TuningDb::suspects(const DeviceKey& device, const Problem& problem) {
  Transaction transaction(state_->connection, Transaction::Kind::read);
  const References references = state_->references_without_kernels();
  std::vector<Suspect> suspects;
  state_->scan("attempt", [&](int64_t, RowReader row) {
    const auto run = references.runs.find(row.integer());
    const auto tried = references.problems.find(row.integer());
    const KernelConfig config = decode_config(row.text());
    if (run == references.runs.end() || tried == references.problems.end()) {
      throw BadRow{"its run or problem is missing or bad"};
    }
    if (run->second.device != device || tried->second != problem) return;
    for (Suspect& suspect : suspects) {
      if (suspect.config == config) {
        ++suspect.deaths;
        return;
      }
    }
    suspects.push_back({config, 1});
  });
  return suspects;
}

void TuningDb::finish(int64_t run, const Problem& problem, const KernelConfig& config) {
  Transaction transaction(state_->connection, Transaction::Kind::write);
  const DeviceKey device = state_->device_of(run);
  Statement remove(state_->connection,
                   "DELETE FROM attempt WHERE problem=?1 AND config=?2 AND run IN"
                   " (SELECT id FROM run WHERE device=?3)");
  remove.bind(1, state_->problem_id(problem));
  remove.bind(2, config_text(config));
  remove.bind(3, state_->device_id(device));
  remove.step();
  transaction.commit();
}

void TuningDb::store(const Winner& winner) {
  state_->demand_valid(winner, "winner");
  Transaction transaction(state_->connection, Transaction::Kind::write);
  Winner justified = winner;
  if (const auto error = state_->justify(justified, state_->references())) {
    throw DatabaseError(fmt::format("database {}: winner refused: {}", path(), *error));
  }
  const WinnerIds ids{.device = state_->device_id(winner.device),
                      .problem = state_->problem_id(winner.problem)};
  Statement remove(state_->connection,
                   "DELETE FROM winner WHERE device=?1 AND problem=?2 AND policy=?3"
                   " AND provenance=?4 AND m_tuned=?5 AND (origin=?6 OR origin='imported')");
  remove.bind(1, ids.device);
  remove.bind(2, ids.problem);
  remove.bind(3, std::string(name(winner.policy)));
  remove.bind(4, std::string(name(winner.provenance)));
  remove.bind(5, winner.m_tuned);
  remove.bind(6, std::string(name(winner.origin)));
  remove.step();
  insert_row(state_->connection, "winner", encode(winner, ids));
  transaction.commit();
}

std::vector<Winner> TuningDb::winners() {
  Transaction transaction(state_->connection, Transaction::Kind::read);
  const References references = state_->references();
  std::vector<Winner> winners;
  state_->scan("winner", [&](int64_t, RowReader row) {
    Winner winner = decode_winner(row, references);
    if (const auto error = state_->justify(winner, references)) throw BadRow{*error};
    winners.push_back(std::move(winner));
  });
  return winners;
}

std::vector<Winner> TuningDb::winners(const DeviceKey& device, const Problem& problem) {
  std::vector<Winner> all = winners();
  std::erase_if(all, [&](const Winner& w) { return w.device != device || w.problem != problem; });
  return all;
}

std::vector<Measurement> TuningDb::measurements() {
  Transaction transaction(state_->connection, Transaction::Kind::read);
  const References references = state_->references();
  std::vector<Measurement> rows;
  state_->scan("measurement", [&](int64_t id, RowReader row) {
    rows.push_back(decode_measurement(row, id, references));
  });
  return rows;
}

std::vector<Measurement> TuningDb::measurements(const DeviceKey& device, const Problem& problem) {
  std::vector<Measurement> all = measurements();
  std::erase_if(all,
                [&](const Measurement& r) { return r.device != device || r.problem != problem; });
  return all;
}

int64_t TuningDb::add(const Comparison& comparison) {
  return state_->append("comparison", comparison);
}
int64_t TuningDb::add(const ChangePoint& step) { return state_->append("change_point", step); }
int64_t TuningDb::add(const Rival& rival) { return state_->append("rival", rival); }

std::vector<Comparison> TuningDb::comparisons() {
  return state_->read("comparison", decode_comparison);
}
std::vector<ChangePoint> TuningDb::change_points() {
  return state_->read("change_point", decode_change_point);
}
std::vector<Rival> TuningDb::rivals() { return state_->read("rival", decode_rival); }

TuningDb::Counts TuningDb::counts() {
  Transaction transaction(state_->connection, Transaction::Kind::read);
  const auto count = [&](const char* table) {
    const std::string sql = fmt::format("SELECT count(*) FROM {}", table);
    return state_->connection.query_integer(sql.c_str()).value_or(0);
  };
  return {count("run"), count("measurement"), count("winner")};
}

}  // namespace nvfp4
