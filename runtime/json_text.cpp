// SPDX-License-Identifier: Apache-2.0
// The parser tells each event before it stores a value, so a document ends where it goes too far.
#include "runtime/json_text.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "runtime/quoted_name.h"

namespace nvfp4 {

std::string json_reason(std::string_view what) {
  if (what.find("out_of_range") != what.npos) return "a number is out of range";
  const size_t dash = what.find(" - ");
  std::string_view reason = dash == what.npos ? "not JSON" : what.substr(dash + 3);
  reason = reason.substr(0, reason.find("; last read"));
  return printable(reason);
}

nlohmann::json parse_json(std::string_view text, std::string_view file) {
  using Event = nlohmann::json::parse_event_t;
  const auto fail = [&](const std::string& what) {
    throw JsonError(fmt::format("{}: {}", file, what));
  };
  if (text.size() > kMaxJsonBytes) {
    fail(fmt::format("{} bytes of JSON exceed {}", text.size(), kMaxJsonBytes));
  }
  // To the parser a NUL is the end of its input.
  if (const size_t nul = text.find('\0'); nul != text.npos)
    fail(fmt::format("byte {} is NUL", nul));
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  int64_t values = 0;
  const auto watch = [&](int depth, Event event, nlohmann::json& value) {
    if (event == Event::object_start || event == Event::array_start) {
      if (depth >= kMaxJsonDepth) fail(fmt::format("nested deeper than {}", kMaxJsonDepth));
    }
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(value.get<std::string>()).second) {
      fail(fmt::format("key {} twice", quoted_name(value.get<std::string>())));
    }
    if (++values > kMaxJsonValues) fail(fmt::format("more than {} values", kMaxJsonValues));
    return true;
  };
  try {
    return nlohmann::json::parse(text, watch);
  } catch (const nlohmann::json::parse_error& error) {
    throw JsonError(fmt::format("{}: byte {}: {}", file, error.byte, json_reason(error.what())));
  } catch (const nlohmann::json::exception& error) {
    throw JsonError(fmt::format("{}: {}", file, json_reason(error.what())));
  }
}

}  // namespace nvfp4
