// SPDX-License-Identifier: Apache-2.0
// Bringing rows of several databases together. Runs, measurements and comparisons are sets: equal
// ones are one, and none is lost. Of winners that exclude each other the first in an order of all
// contents stays. A union and a least element do not ask who met whom first: merging is
// commutative, associative and idempotent.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tuning_db/tuning_db.h"

namespace nvfp4 {

/// A winner with the measurement that justifies it.
struct FoundedWinner {
  Winner winner;
  Measurement evidence;
  int64_t run_hash = 0;  ///< of the contents of the evidence's run: the last word between equals
};

/// The time that a median hardly exceeds, the upper end of its notch: median + 1.57 (q3 - q1) /
/// sqrt(samples) (McGill, Tukey, Larsen 1978).
double surely_us(const Timing& timing);

/// Whether of two winners for the same device, problem, policy, provenance and tuned M the first is
/// the one to keep: the lower surely_us(), then a fixed order of contents. So where the notches lie
/// apart the faster one is, and where they overlap samples count.
bool better_founded(const FoundedWinner& a, const FoundedWinner& b);

struct MergeCounts {
  int64_t runs = 0;          ///< added
  int64_t measurements = 0;  ///< added
  int64_t comparisons = 0;   ///< added, with change points and rivals
  int64_t winners = 0;       ///< added, or in place of another
  int64_t kept = 0;          ///< winners that stayed against another config
};

/// Collects rows from elsewhere, then stores the winners that stay. One transaction.
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
  /// The best winner so far of those that exclude each other.
  struct Standing {
    FoundedWinner best;
    bool own = false;       ///< it is the database's own
    bool rivalled = false;  ///< another config was offered
  };
  struct Rows;
  int64_t run(RunRecord run, bool is_new);
  void compared(const Rows& from, const Ids& runs, const Ids& measurements, const Rewrite& rewrite);

  TuningDb& into_;
  TuningDb::Batch batch_;
  MergeCounts counts_;
  std::map<int64_t, int64_t> run_hashes_;             ///< by id
  std::multimap<int64_t, RunRecord> runs_;            ///< by a hash of the contents
  std::multimap<int64_t, Measurement> measurements_;  ///< likewise
  std::map<std::pair<WinnerOrigin, std::string>, Standing> standing_;
};

/// Adds what the databases in `from` hold to `into`.
MergeCounts merge(TuningDb& into, std::span<TuningDb* const> from,
                  const Merger::Rewrite& rewrite = {});

}  // namespace nvfp4
