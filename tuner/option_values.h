// SPDX-License-Identifier: Apache-2.0
// The options of nvfp4-tune as words: which there are, which commands each means something to, and
// what the command line or the environment gave for them.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tuner/suite.h"

namespace nvfp4 {

/// One row an option: what CLI11 needs, and the commands it means something to.
struct OptionSpec {
  const char* name;
  const char* value;  ///< null for a flag
  const char* help;
  /// Of t(une) l(ookup) e(mit) b(ench) c(ompare) i(nspect) r(egret) (d)O(ctor)
  /// (das)H(board); db: db_options.cpp.
  const char* commands;
};
std::span<const OptionSpec> option_specs();

/// A whole number and nothing else.
std::optional<int64_t> parse_integer(std::string_view text);
/// The same, 1 to 1,000,000.
std::optional<int64_t> parse_positive(std::string_view text);

/// What was given for each option: the command line's values, else the environment's.
class OptionValues {
 public:
  /// `command` is a letter of OptionSpec::commands. Throws UsageError for an option on the command
  /// line that means nothing to it.
  OptionValues(const CLI::App& app, char command);

  bool flag(std::string_view name) const { return find(name).present; }
  const std::vector<std::string>& all(std::string_view name) const { return find(name).texts; }
  /// What to call an option in a message: --device or NVFP4_DEVICE.
  const std::string& label(std::string_view name) const { return find(name).label; }

  /// The single value, or null. Throws UsageError when there are several.
  const std::string* one(std::string_view name) const;

  /// The single value through a parser that returns an optional; `wanted` says what it takes.
  template <class Parse>
  auto parsed(std::string_view name, const Parse& parse, std::string_view wanted) const
      -> decltype(parse(std::string_view())) {
    const std::string* text = one(name);
    if (text == nullptr) return std::nullopt;
    auto value = parse(std::string_view(*text));
    if (!value) refuse(name, *text, wanted);
    return value;
  }

  /// Throws the UsageError "--act 'x' is not bf16 or fp16".
  [[noreturn]] void refuse(std::string_view name, std::string_view text,
                           std::string_view wanted) const;

 private:
  struct Given {
    std::string label;
    bool present = false;
    std::vector<std::string> texts;
  };

  const Given& find(std::string_view name) const;

  std::vector<std::pair<std::string_view, Given>> given_;
};

/// "5%": a share above 0 up to 1.
std::optional<double> parse_share(std::string_view text);

/// "4096,4096". Throws UsageError.
Shape parse_shape(const OptionValues& values, const std::string& text);

}  // namespace nvfp4
