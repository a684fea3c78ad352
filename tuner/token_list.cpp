// SPDX-License-Identifier: Apache-2.0
// Parser of --M.
#include "tuner/token_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

#include "generator/problem.h"

namespace nvfp4 {
namespace {

int64_t parse_count(std::string_view text, std::string_view item) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) {
    throw TokenListError(fmt::format("'{}' exceeds the largest token count {}", text, kMaxM));
  }
  if (error != std::errc() || end != text.data() + text.size()) {
    throw TokenListError(
        fmt::format("'{}' is not a token count or range (examples: 64 | 1:8 | "
                    "4:512*2 | 1:64+8)",
                    item));
  }
  if (const std::optional<std::string> why = tokens_error(value)) throw TokenListError(*why);
  return value;
}

void append_range(std::string_view item, size_t colon, std::vector<int64_t>& counts) {
  const std::string_view rest = item.substr(colon + 1);
  const size_t sign = rest.find_first_of("*+");
  const int64_t first = parse_count(item.substr(0, colon), item);
  const int64_t last = parse_count(rest.substr(0, sign), item);
  const bool multiply = sign != rest.npos && rest[sign] == '*';
  const int64_t step = sign == rest.npos ? 1 : parse_count(rest.substr(sign + 1), item);
  if (last < first) {
    throw TokenListError(
        fmt::format("range '{}' ends at {} before its start {}", item, last, first));
  }
  if (multiply && step < 2) {
    throw TokenListError(fmt::format("range '{}' multiplies by {}, which never ends", item, step));
  }
  for (int64_t m = first; m <= last; m = multiply ? m * step : m + step) {
    counts.push_back(m);
    if (counts.size() > kMaxTokenCounts) {
      throw TokenListError(
          fmt::format("range '{}' brings the list over {} token counts", item, kMaxTokenCounts));
    }
  }
}

}  // namespace

std::vector<int64_t> parse_token_list(std::string_view text) {
  if (text.empty()) throw TokenListError("the list of token counts is empty");
  std::vector<int64_t> counts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view item = text.substr(begin, end - begin);
    if (item.empty()) throw TokenListError(fmt::format("'{}' has an empty entry", text));
    if (const size_t colon = item.find(':'); colon != item.npos) {
      append_range(item, colon, counts);
    } else {
      counts.push_back(parse_count(item, item));
    }
    begin = end + 1;
  }
  std::sort(counts.begin(), counts.end());
  counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
  if (counts.size() > kMaxTokenCounts) {
    throw TokenListError(
        fmt::format("{} token counts exceed the {} of one list", counts.size(), kMaxTokenCounts));
  }
  return counts;
}

}  // namespace nvfp4
