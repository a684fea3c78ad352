// SPDX-License-Identifier: Apache-2.0
// The results of a suite as the one JSON document that --save keeps and --from reads, and as the
// table and the plot that are made of it, in the run and from the file alike.
#pragma once

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

#include "generator/device.h"
#include "tuner/plot.h"
#include "tuner/suite_run.h"
#include "tuner/table.h"

namespace nvfp4 {

/// What a run knows about itself.
struct SuiteFacts {
  std::string card;
  std::string driver;
  std::string nvrtc;
  std::string date;
  std::string commit;
  std::string command;
};

nlohmann::ordered_json suite_document(const SuiteOutcome& outcome, const SuiteFacts& facts,
                                      Activation act);

/// A file that is no such document; the message says what is wrong with it.
class DocumentError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Reads a document that may come from anywhere: every field that is shown has been checked.
nlohmann::ordered_json parse_suite_document(std::string_view text);

Table suite_table(const nlohmann::ordered_json& document);
Plot suite_plot(const nlohmann::ordered_json& document);

}  // namespace nvfp4
