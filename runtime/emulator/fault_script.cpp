// SPDX-License-Identifier: Apache-2.0
// Parses and applies scripted faults.
#include "runtime/emulator/fault_script.h"

#include <algorithm>
#include <charconv>

namespace nvfp4::emulator {
namespace {

std::optional<int64_t> parse_number(std::string_view text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value <= 0) return std::nullopt;
  return value;
}

}  // namespace

std::optional<Call> find_call(std::string_view name) {
  const auto found = std::find(kCallNames.begin(), kCallNames.end(), name);
  if (found == kCallNames.end()) return std::nullopt;
  return static_cast<Call>(found - kCallNames.begin());
}

std::optional<FaultScript::Rule> FaultScript::parse_rule(std::string_view text) const {
  const size_t colon = text.find(':');
  const size_t equals = text.find('=');
  if (colon == text.npos || equals == text.npos || equals < colon) return std::nullopt;
  std::string_view count_text = text.substr(colon + 1, equals - colon - 1);
  const bool onwards = count_text.ends_with('+');
  if (onwards) count_text.remove_suffix(1);

  const std::optional<Call> call = find_call(text.substr(0, colon));
  const std::optional<int64_t> count = parse_number(count_text);
  if (!call || !count) return std::nullopt;
  const std::string_view effect = text.substr(equals + 1);
  if (effect == "hang") {
    return Rule{*call, calls(*call) + *count, onwards, {CUDA_SUCCESS, true}};
  }
  const std::optional<int64_t> code = parse_number(effect);
  if (!code || *code > CUDA_ERROR_UNKNOWN) return std::nullopt;
  return Rule{*call, calls(*call) + *count, onwards, {static_cast<CUresult>(*code), false}};
}

bool FaultScript::add(std::string_view text) {
  std::vector<Rule> added;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::optional<Rule> rule = parse_rule(text.substr(0, comma));
    if (!rule) return false;
    added.push_back(*rule);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  rules_.insert(rules_.end(), added.begin(), added.end());
  return true;
}

std::optional<Effect> FaultScript::count(Call call) {
  const int64_t number = ++calls_[static_cast<size_t>(call)];
  for (const Rule& rule : rules_) {
    if (rule.call != call) continue;
    if (number == rule.first || (rule.onwards && number > rule.first)) return rule.effect;
  }
  return std::nullopt;
}

}  // namespace nvfp4::emulator
