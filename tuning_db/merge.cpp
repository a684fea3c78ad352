// SPDX-License-Identifier: Apache-2.0
// Rows are found by a hash of their contents and compared in full.
#include "tuning_db/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <tuple>

#include "generator/config_text.h"
#include "tuning_db/codec.h"

namespace nvfp4 {
namespace {

int64_t content_hash(const RunRecord& run) {
  Row row = encode(run, RunIds{});
  for (const Row& part : {encode(run.device), encode(run.toolchain)}) {
    row.insert(row.end(), part.begin(), part.end());
  }
  return row_checksum("run", row);
}

int64_t content_hash(const Measurement& measurement) {
  Row row = encode(measurement, MeasurementIds{});
  for (const Row& part : {encode(measurement.problem), encode(measurement.kernel)}) {
    row.insert(row.end(), part.begin(), part.end());
  }
  return row_checksum("measurement", row);
}

/// The tuned winners of one group exclude each other, and so do the imported ones.
std::string group_of(const Winner& w) {
  const DeviceKey& d = w.device;
  return fmt::format("{} {} {} {} {} {} {} {} {} {}", key_text(w.problem), sm_name(d.arch),
                     d.sm_count, d.l2_bytes, d.smem_per_block, d.bandwidth_class, d.emulated,
                     name(w.policy), name(w.provenance), w.m_tuned);
}

auto content_order(const FoundedWinner& candidate) {
  const Winner& w = candidate.winner;
  const Timing& t = candidate.evidence.timing;
  return std::tuple(-t.samples, t.median_us, config_text(w.config), w.interval.lo, w.interval.hi,
                    w.runner_up ? config_text(*w.runner_up) : std::string(),
                    w.regret_bound.value_or(-1), content_hash(candidate.evidence),
                    candidate.run_hash);
}

/// The value of a map that has it: every row that names another was read together with it.
std::optional<int64_t> mapped(const std::map<int64_t, int64_t>& ids, int64_t id) {
  const auto found = ids.find(id);
  return found == ids.end() ? std::nullopt : std::optional(found->second);
}

template <typename Record>
bool holds(const std::vector<Record>& records, Record record) {
  return std::any_of(records.begin(), records.end(), [&](const Record& other) {
    record.id = other.id;
    return other == record;
  });
}

}  // namespace

double surely_us(const Timing& t) {
  return t.median_us + 1.57 * (t.q3_us - t.q1_us) / std::sqrt(std::max(t.samples, 1));
}

bool better_founded(const FoundedWinner& a, const FoundedWinner& b) {
  const double us[] = {surely_us(a.evidence.timing), surely_us(b.evidence.timing)};
  return us[0] != us[1] ? us[0] < us[1] : content_order(a) < content_order(b);
}

Merger::Merger(TuningDb& into) : into_(into), batch_(into) {
  Ids first_equal;  // a program that was started twice in one second left two equal runs
  for (const RunRecord& run : into.runs()) first_equal[run.id] = this->run(run, false);
  std::map<int64_t, Measurement> by_id;
  for (Measurement& row : into.measurements()) {
    row.run = first_equal.at(row.run);
    by_id.emplace(row.id, row);
    measurements_.emplace(content_hash(row), std::move(row));
  }
  for (const Winner& winner : into.winners()) {
    const Measurement& evidence = by_id.at(winner.evidence);
    this->winner(winner, evidence.run, evidence);
  }
  for (auto& [key, standing] : standing_) standing.own = true;
}

int64_t Merger::run(const RunRecord& run) { return this->run(run, true); }

int64_t Merger::run(RunRecord run, bool is_new) {
  const int64_t hash = content_hash(run);
  const auto [begin, end] = runs_.equal_range(hash);
  for (auto at = begin; at != end; ++at) {
    RunRecord same = run;
    same.id = at->second.id;
    if (at->second == same) return same.id;
  }
  if (is_new) {
    run.id = into_.add_run(run);
    ++counts_.runs;
  }
  run_hashes_[run.id] = hash;
  return runs_.emplace(hash, std::move(run))->second.id;
}

int64_t Merger::measurement(int64_t run, const Measurement& measurement) {
  Measurement wanted = measurement;
  wanted.run = run;
  const int64_t hash = content_hash(wanted);
  const auto [begin, end] = measurements_.equal_range(hash);
  for (auto at = begin; at != end; ++at) {
    wanted.id = at->second.id;
    if (at->second == wanted) return wanted.id;
  }
  wanted.id = into_.add(run, wanted);
  ++counts_.measurements;
  return measurements_.emplace(hash, std::move(wanted))->second.id;
}

void Merger::winner(const Winner& winner, int64_t run, const Measurement& evidence) {
  const auto [at, is_first] = standing_.try_emplace({winner.origin, group_of(winner)});
  Standing& standing = at->second;
  if (!is_first && standing.best.winner == winner) return;  // with the same row of evidence
  FoundedWinner offered{winner, evidence, run_hashes_.at(run)};
  standing.rivalled |= !is_first && standing.best.winner.config != winner.config;
  if (!is_first && !better_founded(offered, standing.best)) return;
  standing.best = std::move(offered);
  standing.own = false;
}

/// What a database held at one moment.
struct Merger::Rows {
  std::vector<RunRecord> runs;
  std::vector<Measurement> measurements;
  std::vector<Winner> winners;
  std::vector<Comparison> comparisons;
  std::vector<ChangePoint> change_points;
  std::vector<Rival> rivals;

  static Rows of(TuningDb& from) {
    const TuningDb::Reading reading(from);
    return {from.runs(),        from.measurements(),  from.winners(),
            from.comparisons(), from.change_points(), from.rivals()};
  }
};

void Merger::compared(const Rows& from, const Ids& runs, const Ids& measurements,
                      const Rewrite& rewrite) {
  const std::vector<Comparison> comparisons = into_.comparisons();
  for (Comparison row : from.comparisons) {
    if (rewrite.comparison) rewrite.comparison(row);
    row.base_run = runs.at(row.base_run);
    row.run = runs.at(row.run);
    if (row.base_measurement) row.base_measurement = mapped(measurements, *row.base_measurement);
    if (row.measurement) row.measurement = mapped(measurements, *row.measurement);
    if (holds(comparisons, row)) continue;
    into_.add(row);
    ++counts_.comparisons;
  }
  const std::vector<ChangePoint> steps = into_.change_points();
  for (ChangePoint row : from.change_points) {
    row.run = runs.at(row.run);
    if (holds(steps, row)) continue;
    into_.add(row);
    ++counts_.comparisons;
  }
  const std::vector<Rival> rivals = into_.rivals();
  for (Rival row : from.rivals) {
    row.run = runs.at(row.run);
    if (holds(rivals, row)) continue;
    into_.add(row);
    ++counts_.comparisons;
  }
}

void Merger::everything(TuningDb& database, const Rewrite& rewrite) {
  const Rows from = Rows::of(database);
  Ids runs;
  for (RunRecord run : from.runs) {
    const int64_t id = run.id;
    if (rewrite.run) rewrite.run(run);
    runs[id] = this->run(run);
  }
  Ids ids;
  std::map<int64_t, Measurement> rows;
  for (Measurement row : from.measurements) {
    const int64_t id = row.id;
    if (rewrite.measurement) rewrite.measurement(row);
    ids[id] = measurement(runs.at(row.run), row);
    rows.emplace(id, std::move(row));
  }
  for (Winner winner : from.winners) {
    const Measurement& evidence = rows.at(winner.evidence);
    winner.evidence = ids.at(winner.evidence);
    this->winner(winner, runs.at(evidence.run), evidence);
  }
  compared(from, runs, ids, rewrite);
}

MergeCounts Merger::finish() {
  // Tuned ones come first: storing one takes hints away, also those that are to stay.
  std::set<std::string> stored;
  for (const auto& [key, standing] : standing_) {
    const auto& [origin, group] = key;
    counts_.kept += standing.own && standing.rivalled;
    if (standing.own && !stored.contains(group)) continue;
    into_.store(standing.best.winner);
    stored.insert(group);
    counts_.winners += !standing.own;
  }
  batch_.commit();
  return counts_;
}

MergeCounts merge(TuningDb& into, std::span<TuningDb* const> from, const Merger::Rewrite& rewrite) {
  Merger merger(into);
  for (TuningDb* database : from) merger.everything(*database, rewrite);
  return merger.finish();
}

}  // namespace nvfp4
