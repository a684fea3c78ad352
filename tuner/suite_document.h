// SPDX-License-Identifier: Apache-2.0
// The results of a suite as the one JSON document that bench --save keeps and --from reads.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "tuner/document_reader.h"
#include "tuner/suite_results.h"

namespace nvfp4 {

/// Times and ceilings with every figure that follows from them; what is unknown is null.
nlohmann::ordered_json suite_document(const SuiteResults& results);

/// The document as a file has it: with what stands behind each time (suite_evidence.h).
std::string suite_text(const SuiteResults& results);

/// Reads a document that may come from anywhere. Only times, ceilings and names are taken from it,
/// each checked; figures are derived anew.
SuiteResults parse_suite_document(std::string_view text);

}  // namespace nvfp4
