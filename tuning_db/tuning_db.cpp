// SPDX-License-Identifier: Apache-2.0
// Every public operation is one transaction over a handful of tables.
#include "tuning_db/tuning_db.h"

#include <fmt/format.h>

#include <algorithm>

#include "generator/config_text.h"
#include "tuning_db/tuning_db_state.h"

namespace nvfp4 {

TuningDb::TuningDb(const std::string& path, Access access)
    : state_(std::make_unique<State>(path, access)) {}
TuningDb::~TuningDb() = default;
TuningDb::TuningDb(TuningDb&&) noexcept = default;
TuningDb& TuningDb::operator=(TuningDb&&) noexcept = default;

const std::string& TuningDb::path() const { return state_->connection.path(); }
const std::vector<std::string>& TuningDb::warnings() const { return state_->warnings; }
void TuningDb::outlive_disk() { state_->outlives_disk = true; }
bool TuningDb::saved() const { return state_->on_disk; }

TuningDb::Batch::Batch(TuningDb& database)
    : state_(*database.state_),
      transaction_(std::make_unique<Transaction>(state_.connection, Transaction::Kind::write)) {
  state_.known.emplace();
}
TuningDb::Batch::~Batch() { state_.known.reset(); }
void TuningDb::Batch::commit() { transaction_->commit(); }

TuningDb::Reading::Reading(TuningDb& database)
    : transaction_(
          std::make_unique<Transaction>(database.state_->connection, Transaction::Kind::read)) {}
TuningDb::Reading::~Reading() = default;

int64_t TuningDb::add_run(const RunRecord& run) {
  return state_->write([&] {
    state_->demand_valid(run, "run");
    Transaction transaction(state_->connection, Transaction::Kind::write);
    const RunIds ids{.device = state_->device_id(run.device),
                     .toolchain = state_->intern("toolchain", run.toolchain, decode_toolchain)};
    const int64_t id = insert_row(state_->connection, "run", encode(run, ids));
    transaction.commit();
    return id;
  });
}

std::vector<RunRecord> TuningDb::runs() { return state_->read("run", decode_run); }

std::vector<int64_t> TuningDb::add(int64_t run, std::span<const Measurement> measurements) {
  return state_->write([&] {
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
  });
}

int64_t TuningDb::add(int64_t run, const Measurement& measurement) {
  return add(run, std::span(&measurement, 1)).front();
}

void TuningDb::start(int64_t run, const Problem& problem, const KernelConfig& config) {
  return state_->write([&] {
    Transaction transaction(state_->connection, Transaction::Kind::write);
    insert_row(state_->connection, "attempt",
               {run, state_->problem_id(problem), config_text(config)});
    transaction.commit();
  });
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
  return state_->write([&] {
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
  });
}

void TuningDb::store(const Winner& winner) {
  return state_->write([&] {
    state_->demand_valid(winner, "winner");
    Transaction transaction(state_->connection, Transaction::Kind::write);
    Winner justified = winner;
    const References references = state_->references(winner.evidence);
    if (const auto error = state_->justify(justified, references)) {
      throw DatabaseError(fmt::format("database {}: winner refused: {}", path(), *error));
    }
    const WinnerIds ids{.device = state_->device_id(winner.device),
                        .problem = state_->problem_id(winner.problem)};
    const Row key = {ids.device, ids.problem, std::string(name(winner.policy)),
                     std::string(name(winner.provenance)), winner.m_tuned};
    if (state_->may_replace(key)) {
      Statement remove(state_->connection,
                       "DELETE FROM winner WHERE device=?1 AND problem=?2 AND policy=?3"
                       " AND provenance=?4 AND m_tuned=?5 AND (origin=?6 OR origin='imported')");
      for (size_t i = 0; i < key.size(); ++i) remove.bind(static_cast<int>(i) + 1, key[i]);
      remove.bind(6, std::string(name(winner.origin)));
      remove.step();
    }
    insert_row(state_->connection, "winner", encode(winner, ids));
    transaction.commit();
  });
}

std::vector<Winner> TuningDb::winners() {
  Transaction transaction(state_->connection, Transaction::Kind::read);
  const References references = state_->references_of("id IN (SELECT evidence FROM winner)");
  std::vector<Winner> winners;
  state_->scan("winner", [&](int64_t, RowReader row) {
    winners.push_back(state_->read_winner(row, references));
  });
  return winners;
}

std::vector<Winner> TuningDb::winners(const DeviceKey& device, const Problem& problem) {
  Transaction transaction(state_->connection, Transaction::Kind::read);
  std::vector<Winner> winners;
  for (const int64_t id : state_->problem_ids(problem)) {
    const References references =
        state_->references_of("id IN (SELECT evidence FROM winner WHERE problem=?1)", id);
    const auto visit = [&](int64_t, RowReader row) {
      Winner winner = state_->read_winner(row, references);
      if (winner.device == device) winners.push_back(std::move(winner));
    };
    state_->scan("winner", visit, "problem=?1", id);
  }
  return winners;
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
  Transaction transaction(state_->connection, Transaction::Kind::read);
  std::vector<Measurement> rows;
  for (const int64_t problem_id : state_->problem_ids(problem)) {
    const References references = state_->references_of("problem=?1", problem_id);
    const auto visit = [&](int64_t id, RowReader row) {
      Measurement measurement = decode_measurement(row, id, references);
      if (measurement.device == device) rows.push_back(std::move(measurement));
    };
    state_->scan("measurement", visit, "problem=?1", problem_id);
  }
  return rows;
}

int64_t TuningDb::add(const Comparison& comparison) {
  return state_->append("comparison", comparison);
}
int64_t TuningDb::add(const ChangePoint& step) { return state_->append("change_point", step); }
int64_t TuningDb::add(const Rival& rival) { return state_->append("rival", rival); }

void TuningDb::replace_change_points(const DeviceKey& device, std::span<const ChangePoint> steps) {
  Transaction transaction(state_->connection, Transaction::Kind::write);
  Statement remove(state_->connection,
                   "DELETE FROM change_point WHERE run IN (SELECT id FROM run WHERE device=?1)");
  remove.bind(1, state_->device_id(device));
  remove.step();
  for (const ChangePoint& step : steps) state_->append("change_point", step);
  transaction.commit();
}

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
