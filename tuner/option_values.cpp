// SPDX-License-Identifier: Apache-2.0
// Values from two places.
#include "tuner/option_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include "generator/problem.h"
#include "tuner/option_table.h"

namespace nvfp4 {
namespace {

std::string environment_name(std::string_view option) {
  std::string name = "NVFP4_";
  for (char c : option) name += c == '-' ? '_' : static_cast<char>(std::toupper(c));
  return name;
}

bool truthy(std::string_view text) {
  return text == "1" || text == "true" || text == "yes" || text == "on";
}

}  // namespace

std::optional<double> parse_share(std::string_view text) {
  double percent = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
  if (error != std::errc() || std::string_view(end, text.data() + text.size() - end) != "%") {
    return std::nullopt;
  }
  return percent > 0 && percent <= 100 ? std::optional(percent / 100) : std::nullopt;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<int64_t> parse_positive(std::string_view text) {
  const std::optional<int64_t> value = parse_integer(text);
  return value && *value >= 1 && *value <= 1'000'000 ? value : std::nullopt;
}

OptionValues::OptionValues(const TypedWords& typed) {
  for (const OptionSpec& spec : option_specs()) {
    const auto words = typed.options.find(spec.name);
    Given given{.label = fmt::format("--{}", spec.name), .present = words != typed.options.end()};
    const bool applies = spec.commands.contains(typed.command);
    if (given.present && !applies) {
      throw UsageError(fmt::format("{} does not apply to this command", given.label));
    }
    if (given.present) given.texts = words->second;
    const std::string variable = environment_name(spec.name);
    const char* twin = std::getenv(variable.c_str());
    if (!given.present && applies && twin != nullptr && *twin != '\0') {
      given = {.label = variable, .present = spec.value != nullptr || truthy(twin)};
      if (spec.value != nullptr) given.texts = {twin};
    }
    given_.emplace_back(spec.name, std::move(given));
  }
}

Shape parse_shape(const OptionValues& values, const std::string& text) {
  const size_t comma = std::min(text.find(','), text.size());
  const std::optional<int64_t> n = parse_integer(std::string_view(text).substr(0, comma));
  const std::optional<int64_t> k =
      parse_integer(std::string_view(text).substr(std::min(comma + 1, text.size())));
  if (!n || !k) values.refuse("shape", text, "N,K (example: 4096,4096)");
  if (const std::optional<std::string> why = shape_error(*n, *k)) {
    throw UsageError(fmt::format("{} '{}': {}", values.label("shape"), text, *why));
  }
  return {*n, *k};
}

const std::string* OptionValues::one(std::string_view name) const {
  const Given& given = find(name);
  if (given.texts.size() > 1) throw UsageError(fmt::format("{} is given twice", given.label));
  return given.texts.empty() ? nullptr : &given.texts.front();
}

void OptionValues::refuse(std::string_view name, std::string_view text,
                          std::string_view wanted) const {
  throw UsageError(fmt::format("{} '{}' is not {}", label(name), text, wanted));
}

const OptionValues::Given& OptionValues::find(std::string_view name) const {
  const auto found =
      std::find_if(given_.begin(), given_.end(), [&](auto& g) { return g.first == name; });
  assert(found != given_.end() && "no such option");
  return found->second;
}

}  // namespace nvfp4
