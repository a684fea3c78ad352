// SPDX-License-Identifier: Apache-2.0
// Winners of a database with all that is known about each, and what db commands print of them.
#pragma once

#include <string>
#include <vector>

#include "tuner/db_request.h"
#include "tuner/table.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {

struct StoredWinner {
  Winner winner;
  Measurement evidence;
  RunRecord run;
  std::optional<Measurement> runner_up;  ///< its best-founded row of the same run
};

/// Those that the request admits, by device, shape, activation, policy and M. A token count admits
/// the winners whose interval holds it.
std::vector<StoredWinner> stored_winners(TuningDb& database, const DbRequest& request);

/// One winner a row.
Table list_table(const std::vector<StoredWinner>& winners);

/// One winner, a fact a row.
Table show_table(const StoredWinner& stored);

/// For each (device, problem, policy, provenance, tuned M) what both databases say; times are
/// judged by judge_times() with the noise that is assumed of a card.
Table diff_table(const std::vector<StoredWinner>& a, const std::vector<StoredWinner>& b);

}  // namespace nvfp4
