// SPDX-License-Identifier: Apache-2.0
// What a run of the tuner or a lookup found, as a table.
#pragma once

#include <span>

#include "runtime/lookup.h"
#include "tuner/tune.h"

namespace nvfp4 {

struct Table;  // table.h

/// The winners with their evidence, the ceilings they are held against, and what became of the
/// rest.
Table tune_table(const TuneOutcome& outcome, const TuneRequest& request, const Device& device);

/// One answer of the database.
struct LookupRow {
  int64_t m = 0;
  Policy policy = Policy::graph;
  Selection selection;
};
Table lookup_table(std::span<const LookupRow> rows, const Problem& problem, const Device& device);

}  // namespace nvfp4
