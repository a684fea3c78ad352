// SPDX-License-Identifier: Apache-2.0
// A suite's results as a run of the history: measurements with their samples, and rivals. Nothing
// that is there is changed.
#pragma once

#include <vector>

#include "tuner/suite_results.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {

/// The facts of the card: as the results say them, else those of the known part of its name. Throws
/// DocumentError for a card that is neither.
DeviceKey card_of(const SuiteResults& results);

/// The rows as measurements, their figures derived anew. An answer that is not in them could not be
/// measured here, or has a config of another version.
std::vector<Measurement> measurements_of(const SuiteResults& results);

/// Appends the run and returns its id. Throws DocumentError and DatabaseError.
int64_t record(TuningDb& db, const SuiteResults& results);

/// The run that holds these results already, or 0.
int64_t recorded_run(TuningDb& db, const SuiteResults& results);

}  // namespace nvfp4
