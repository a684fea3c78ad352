// SPDX-License-Identifier: Apache-2.0
// The results of a suite as the one JSON document that bench --save keeps and --from reads.
#pragma once

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

#include "tuner/suite_results.h"

namespace nvfp4 {

/// Times and ceilings with every figure that follows from them; what is unknown is null.
nlohmann::ordered_json suite_document(const SuiteResults& results);

/// The document as a file has it.
std::string suite_text(const SuiteResults& results);

/// A text that is no such document; the message says what is wrong with it.
class DocumentError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Reads a document that may come from anywhere. Only times, ceilings and names are taken from it,
/// each checked; figures are derived anew.
SuiteResults parse_suite_document(std::string_view text);

}  // namespace nvfp4
