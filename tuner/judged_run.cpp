// SPDX-License-Identifier: Apache-2.0
// One transaction: a run without its verdicts is never seen.
#include "tuner/judged_run.h"

#include <algorithm>

#include "tuner/record.h"

namespace nvfp4 {

void store(TuningDb& db, const std::vector<ComparedPair>& pairs) {
  if (pairs.empty()) return;
  const Comparison& first = pairs.front().result;
  const std::vector<Comparison> stored = db.comparisons();
  const bool there = std::any_of(stored.begin(), stored.end(), [&](const Comparison& c) {
    return c.base_run == first.base_run && c.run == first.run;
  });
  if (there) return;
  TuningDb::Batch batch(db);
  for (const ComparedPair& pair : pairs) db.add(pair.result);
  batch.commit();
}

JudgedRun record_and_judge(TuningDb& db, const SuiteResults& results) {
  TuningDb::Batch batch(db);
  JudgedRun judged{.run = record(db, results)};
  const RunHistory history(db);
  const RunRecord& run = *history.find(judged.run);
  if (const RunRecord* previous = history.before(run)) {
    judged.previous = previous->id;
    judged.pairs = compare(side_of(history, *previous), side_of(history, run),
                           noise_floor(history, run.device));
    store(db, judged.pairs);
  }
  judged.steps = find_change_points(history, run.device);
  db.replace_change_points(run.device, judged.steps.steps);
  batch.commit();
  return judged;
}

}  // namespace nvfp4
