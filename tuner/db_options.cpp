// SPDX-License-Identifier: Apache-2.0
#include "tuner/db_options.h"

#include <fmt/format.h>

#include "generator/config_text.h"
#include "tuner/token_list.h"

namespace nvfp4 {
namespace {

std::optional<int64_t> parse_experts(std::string_view text) {
  const std::optional<int64_t> value = parse_integer(text);
  return value && *value >= 0 && *value <= kMaxExperts ? value : std::nullopt;
}

}  // namespace

DbRequest read_db(const OptionValues& values, Command command,
                  const std::vector<std::string>& operands) {
  DbRequest request{.files = operands};
  if (const std::string* text = values.one("history")) request.history = *text;
  if (request.history && request.history->empty()) {
    throw UsageError(fmt::format("{} is empty", values.label("history")));
  }
  if (const std::string* text = values.one("shape")) request.shape = parse_shape(values, *text);
  request.experts = values.parsed("experts", parse_experts, "a count of 0 or more");
  if (const std::string* text = values.one("M")) {
    try {
      request.tokens = parse_token_list(*text);
    } catch (const TokenListError& error) {
      throw UsageError(fmt::format("{}: {}", values.label("M"), error.what()));
    }
  }
  request.act = values.parsed("act", parse_activation, "bf16 or fp16");
  request.policy = values.parsed("policy", parse_policy, "graph, graph+pdl or eager");
  request.provenance = values.parsed("provenance", parse_provenance, "measured or modelled");
  request.sample =
      values.parsed("sample", parse_share, "a share above 0% up to 100% (example: 5%)").value_or(1);
  if (command == Command::db_show && (!request.shape || request.tokens.size() != 1)) {
    throw UsageError("db show needs --shape N,K and one --M (example: --shape 4096,4096 --M 64)");
  }
  return request;
}

}  // namespace nvfp4
