// SPDX-License-Identifier: Apache-2.0
// What a db command is asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "generator/problem.h"
#include "tuner/suite.h"
#include "tuning_db/records.h"

namespace nvfp4 {

struct DbRequest {
  std::vector<std::string> files;      ///< import, merge, diff; build: the text and the database
  std::optional<std::string> history;  ///< export: the database to write

  /// Which winners; what is empty admits all.
  std::optional<Shape> shape;
  std::optional<int64_t> experts;  ///< 0: dense problems only
  std::vector<int64_t> tokens;
  std::optional<Activation> act;
  std::optional<Policy> policy;
  std::optional<Provenance> provenance;

  double sample = 1;  ///< verify: the share of winners that is measured again
};

}  // namespace nvfp4
