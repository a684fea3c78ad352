// SPDX-License-Identifier: Apache-2.0
// Bringing rows of several databases together. A database is a set of rows: equal ones are one, so
// that merging twice changes nothing, and which winner stays does not depend on the order.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "tuning_db/tuning_db.h"

namespace nvfp4 {

/// A winner with the measurement that justifies it.
struct FoundedWinner {
  Winner winner;
  Measurement evidence;
  int64_t run_hash = 0;  ///< of the contents of the evidence's run: the last word between equals
};

/// Index of the winner that stays of several for the same device, problem, policy, provenance and
/// tuned M. Whose quartiles lie above those of another is out; of the rest the one with most
/// samples stays, then a fixed order of contents decides.
size_t best_founded(std::span<const FoundedWinner> candidates);

struct MergeCounts {
  int64_t runs = 0;          ///< added
  int64_t measurements = 0;  ///< added
  int64_t comparisons = 0;   ///< added, with change points and rivals
  int64_t winners = 0;       ///< added, or in place of another
  int64_t kept = 0;          ///< winners that stayed against another config
};

/// Collects rows from elsewhere, then decides which winners stay. One transaction.
class Merger {
 public:
  explicit Merger(TuningDb& into);

  /// The id of the equal run or row in the database, added if there is none.
  int64_t run(const RunRecord& run);
  int64_t measurement(int64_t run, const Measurement& measurement);

  /// `evidence` is the row that measurement() gave winner.evidence for, of `run`.
  void winner(const Winner& winner, int64_t run, const Measurement& evidence);

  /// Everything of a database but its candidates in flight. `changed_run` and `changed_row` are
  /// applied on the way.
  struct Rewrite {
    std::function<void(RunRecord&)> run;
    std::function<void(Measurement&)> measurement;
    std::function<void(Comparison&)> comparison;
  };
  void everything(TuningDb& from, const Rewrite& rewrite);

  /// Stores the winners and ends the transaction. Nothing is kept without it.
  MergeCounts finish();

 private:
  using Ids = std::map<int64_t, int64_t>;
  int64_t run(RunRecord run, bool is_new);
  void compared(TuningDb& from, const Ids& runs, const Ids& measurements, const Rewrite& rewrite);

  TuningDb& into_;
  TuningDb::Batch batch_;
  MergeCounts counts_;
  std::map<int64_t, int64_t> run_hashes_;             ///< by id
  std::multimap<int64_t, RunRecord> runs_;            ///< by a hash of the contents
  std::multimap<int64_t, Measurement> measurements_;  ///< likewise
  std::vector<FoundedWinner> winners_;
  size_t own_winners_ = 0;  ///< of the database itself: the first ones
};

/// Adds what the databases in `from` hold to `into`.
MergeCounts merge(TuningDb& into, std::span<TuningDb* const> from,
                  const Merger::Rewrite& rewrite = {});

}  // namespace nvfp4
