// SPDX-License-Identifier: Apache-2.0
// Texts to shapes, counts and shares.
#include "tuner/work_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "generator/problem.h"
#include "tuner/token_list.h"

namespace nvfp4 {
namespace {

constexpr char kModelTokens[] = "1:4096*2";  // decoding one by one up to a prefill's chunk
constexpr int64_t kMaxRanks = 1024;
constexpr int64_t kMaxShards = 65536;

std::optional<Shard> parse_shard(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == text.npos) return std::nullopt;
  const std::optional<int64_t> index = parse_positive(text.substr(0, slash));
  const std::optional<int64_t> count = parse_positive(text.substr(slash + 1));
  if (!index || !count || *index > *count || *count > kMaxShards) return std::nullopt;
  return Shard{static_cast<int>(*index), static_cast<int>(*count)};
}

}  // namespace

void read_shapes(const OptionValues& values, CommandLine& line) {
  for (const std::string& text : values.all("shape")) {
    const Shape shape = parse_shape(values, text);
    const bool known = std::count(line.shapes.begin(), line.shapes.end(), shape) > 0;
    if (!known) line.shapes.push_back(shape);
  }
}

void read_tokens(const OptionValues& values, CommandLine& line) {
  const std::string* text = values.one("M");
  const bool needed = line.command != Command::emit || line.configs.empty();
  if (text == nullptr && !line.models.empty()) {
    line.tokens = parse_token_list(kModelTokens);
    return;
  }
  if (text == nullptr && needed) throw UsageError("--M is missing (example: --M 64)");
  if (text == nullptr) return;
  try {
    line.tokens = parse_token_list(*text);
  } catch (const TokenListError& error) {
    throw UsageError(fmt::format("{}: {}", values.label("M"), error.what()));
  }
  if (line.command == Command::emit && line.tokens.size() > 1) {
    throw UsageError(fmt::format("emit takes one token count, not {}", line.tokens.size()));
  }
}

void read_model_options(const OptionValues& values, CommandLine& line) {
  for (const std::string& text : values.all("model")) {
    if (text.empty()) throw UsageError(fmt::format("{} is empty", values.label("model")));
    const bool known = std::count(line.models.begin(), line.models.end(), text) > 0;
    if (!known) line.models.push_back(text);
  }
  if (!line.models.empty() && !line.shapes.empty()) {
    const auto typed = [&](std::string_view name) { return values.label(name).starts_with("--"); };
    if (typed("model") == typed("shape")) {
      throw UsageError(fmt::format("{} and {} exclude each other", values.label("model"),
                                   values.label("shape")));
    }
    // The command line wins over the environment.
    if (typed("model")) {
      line.shapes.clear();
    } else {
      line.models.clear();
    }
  }
  const std::string* tp = values.one("tp");
  if (tp == nullptr) return;
  if (line.models.empty()) {
    throw UsageError(
        fmt::format("{} needs --model: a shape is one rank's already", values.label("tp")));
  }
  // The grammar of a list of token counts serves for this one too.
  try {
    line.tps = parse_token_list(*tp);
  } catch (const TokenListError&) {
    line.tps.clear();
  }
  if (line.tps.empty() || line.tps.back() > kMaxRanks) {
    values.refuse("tp", *tp, fmt::format("a list of 1 to {} ranks (example: 1,2,4)", kMaxRanks));
  }
}

void read_work(const OptionValues& values, CommandLine& line) {
  read_shapes(values, line);
  if (line.command == Command::tune) {
    read_model_options(values, line);
    line.plan = values.flag("plan");
    line.shard = values.parsed("shard", parse_shard, "I/N with I from 1 to N (example: 1/4)")
                     .value_or(line.shard);
  }
  if (line.shapes.empty() && line.models.empty()) {
    throw UsageError("--shape N,K is missing (example: --shape 4096,4096)");
  }
  if (line.command != Command::tune && line.shapes.size() > 1) {
    throw UsageError(fmt::format("{} is given twice", values.label("shape")));
  }
  const auto experts = [](std::string_view text) -> std::optional<int64_t> {
    const std::optional<int64_t> count = parse_integer(text);
    return count && *count >= 1 && *count <= kMaxExperts ? count : std::nullopt;
  };
  line.experts = values.parsed("experts", experts, fmt::format("a count from 1 to {}", kMaxExperts))
                     .value_or(0);
  if (line.experts > 0 && !line.models.empty()) {
    throw UsageError(
        fmt::format("{} goes with --shape: a model knows its own", values.label("experts")));
  }
  if (!line.shapes.empty()) {
    line.n = line.shapes.front().n;
    line.k = line.shapes.front().k;
  }
  read_tokens(values, line);
}

}  // namespace nvfp4
