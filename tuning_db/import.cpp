// SPDX-License-Identifier: Apache-2.0
#include "tuning_db/import.h"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "tuning_db/merge.h"
#include "tuning_db/plausible.h"
#include "tuning_db/winners_text.h"

namespace nvfp4 {
namespace {

void take(Merger& merger, RunRecord run, FoundedWinner found, const std::string& place,
          ImportResult& result) {
  if (const auto why = implausible(found.evidence)) {
    result.refused.push_back(fmt::format("{}: {}", place, *why));
    return;
  }
  run.purpose = found.evidence.purpose = Purpose::imported;
  found.winner.origin = WinnerOrigin::imported;
  const int64_t id = merger.run(run);
  found.winner.evidence = merger.measurement(id, found.evidence);
  merger.winner(found.winner, id, found.evidence);
  ++result.winners;
}

}  // namespace

ImportResult import_winners(TuningDb& into, std::string_view text, std::string_view name) {
  ParsedWinners parsed = parse_winners_text(text, name);
  ImportResult result{.refused = std::move(parsed.defects), .unread = std::move(parsed.unread)};
  Merger merger(into);
  for (ParsedWinners::Row& row : parsed.rows) {
    take(merger, std::move(row.run), std::move(row.winner), row.place, result);
  }
  merger.finish();
  return result;
}

ImportResult import_winners(TuningDb& into, TuningDb& from) {
  const TuningDb::Reading reading(from);
  std::map<int64_t, RunRecord> runs;
  for (RunRecord& run : from.runs()) runs.emplace(run.id, std::move(run));
  std::map<int64_t, Measurement> rows;
  for (Measurement& row : from.measurements()) rows.emplace(row.id, std::move(row));
  const std::vector<Winner> winners = from.winners();
  ImportResult result{.refused = from.warnings()};
  Merger merger(into);
  for (const Winner& winner : winners) {
    const Measurement& evidence = rows.at(winner.evidence);
    take(merger, runs.at(evidence.run), {winner, evidence},
         fmt::format("database {}: winner for n={} k={} M={}", from.path(), winner.problem.n,
                     winner.problem.k, winner.m_tuned),
         result);
  }
  merger.finish();
  return result;
}

}  // namespace nvfp4
