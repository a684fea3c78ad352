// SPDX-License-Identifier: Apache-2.0
// The words after "db".
#pragma once

#include <CLI/CLI.hpp>
#include <vector>

#include "tuner/db_request.h"
#include "tuner/option_values.h"

namespace nvfp4 {

class DbOptions {
 public:
  /// Adds the command to `app`. Outlives its parsing.
  explicit DbOptions(CLI::App& app);
  DbOptions(const DbOptions&) = delete;
  DbOptions& operator=(const DbOptions&) = delete;

  bool parsed() const { return db_->parsed(); }

  /// Of OptionSpec::commands, for the verb that was typed.
  char letter() const;

  /// Throws UsageError.
  DbRequest read(const OptionValues& values) const;

 private:
  struct Verb {
    DbVerb verb;
    char letter;
    const CLI::App* app;
  };
  const Verb& typed() const;

  CLI::App* db_;
  std::vector<Verb> verbs_;
  std::vector<std::string> files_;
};

}  // namespace nvfp4
