// SPDX-License-Identifier: Apache-2.0
// What the command line or the environment gave for each option, as text and through parsers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tuner/suite.h"
#include "tuner/typed_words.h"

namespace nvfp4 {

/// A whole number and nothing else.
std::optional<int64_t> parse_integer(std::string_view text);
/// The same, 1 to 1,000,000.
std::optional<int64_t> parse_positive(std::string_view text);

/// What was given for each option: the command line's values, else the environment's.
class OptionValues {
 public:
  /// Throws UsageError for an option that was typed and means nothing to the command.
  explicit OptionValues(const TypedWords& typed);

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
