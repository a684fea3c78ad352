// SPDX-License-Identifier: Apache-2.0
#include "tuner/db_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "generator/config_text.h"
#include "tuner/command_line.h"
#include "tuner/token_list.h"

namespace nvfp4 {
namespace {

struct VerbSpec {
  DbVerb verb;
  char letter;
  const char* name;
  const char* help;
  const char* files;  ///< what the words after it are; null: there are none
  int fewest = 0;
  int most = 0;
};

constexpr int kMany = 10'000;  // files of a job array

constexpr VerbSpec kVerbs[] = {
    {DbVerb::path, 'd', "path", "print where it is", nullptr},
    {DbVerb::info, 'I', "info", "size, rows and devices of it and of the shipped ones", nullptr},
    {DbVerb::list, 'L', "list", "print winners; --shape, --M, --act .. choose some", nullptr},
    {DbVerb::show, 'S', "show", "print one winner with its evidence (--shape, --M)", nullptr},
    {DbVerb::give, 'X', "export",
     "print the measured winners as text; --history FILE: everything, as a database", nullptr},
    {DbVerb::take, 'P', "import", "take winners of others (text or database) as hints", "FILE", 1,
     kMany},
    {DbVerb::merge, 'P', "merge", "add all rows of your own other databases", "FILE", 1, kMany},
    {DbVerb::diff, 'D', "diff", "compare the winners of two databases", "FILE", 1, 2},
    {DbVerb::verify, 'V', "verify", "measure stored winners again", nullptr},
    {DbVerb::compact, 'd', "compact", "drop replaced rows and raw samples", nullptr},
    {DbVerb::build, 's', "build", "make a database to ship of a text", "FILE", 2, 2},
};

std::optional<int64_t> parse_experts(std::string_view text) {
  const std::optional<int64_t> value = parse_integer(text);
  return value && *value >= 0 && *value <= kMaxExperts ? value : std::nullopt;
}

std::optional<double> parse_share(std::string_view text) {
  double percent = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
  if (error != std::errc() || std::string_view(end, text.data() + text.size() - end) != "%") {
    return std::nullopt;
  }
  return percent > 0 && percent <= 100 ? std::optional(percent / 100) : std::nullopt;
}

}  // namespace

DbOptions::DbOptions(CLI::App& app) : db_(app.add_subcommand("db", "the tuning database")) {
  for (const VerbSpec& spec : kVerbs) {
    CLI::App* const verb = db_->add_subcommand(spec.name, spec.help);
    verb->fallthrough()->set_help_flag();
    if (spec.files != nullptr) {
      verb->add_option(spec.files, files_)->expected(spec.fewest, spec.most)->required();
    }
    verbs_.push_back({spec.verb, spec.letter, verb});
  }
  db_->require_subcommand(1);
}

const DbOptions::Verb& DbOptions::typed() const {
  return *std::find_if(verbs_.begin(), verbs_.end(),
                       [](const Verb& verb) { return verb.app->parsed(); });
}

char DbOptions::letter() const { return typed().letter; }

DbRequest DbOptions::read(const OptionValues& values) const {
  DbRequest request{.verb = typed().verb, .files = files_};
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
  if (request.verb == DbVerb::show && (!request.shape || request.tokens.size() != 1)) {
    throw UsageError("db show needs --shape N,K and one --M (example: --shape 4096,4096 --M 64)");
  }
  return request;
}

}  // namespace nvfp4
