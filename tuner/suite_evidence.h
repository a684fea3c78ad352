// SPDX-License-Identifier: Apache-2.0
// The part of a saved suite that a history needs and a reader of the table does not: samples,
// clocks, machine code, and the physical facts of the card.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "tuner/document_reader.h"
#include "tuner/suite_results.h"

namespace nvfp4 {

/// Null when the results hold no evidence.
nlohmann::ordered_json evidence_json(const SuiteResults& results);

/// Adds it to the rows that were read before. Throws DocumentError.
void read_evidence(const DocumentReader& in, SuiteResults& results);

}  // namespace nvfp4
