// SPDX-License-Identifier: Apache-2.0
// The table of options, and their values from two places.
#include "tuner/option_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include "tuner/command_line.h"

namespace nvfp4 {
namespace {

constexpr OptionSpec kOptions[] = {
    {"shape", "N,K",
     "output features (weight rows) and input features; tune and bench take several", "tlebLSDVr"},
    {"model", "NAME",
     "tune, bench: a model's layers: a folder, a config.json or a name of --model list", "tb"},
    {"experts", "E",
     "matrices of a grouped launch (mixture of experts); M then counts the tokens of all",
     "tleLSDV"},
    {"M", "LIST", "token counts: 64 | 1,2,4 | 1:8 | 4:512*2 | 1:64+8", "tlebLSDVr"},
    {"act", "TYPE", "activations: bf16 (default) | fp16", "tlebiLSDVr"},
    {"device", "NAME", "auto (default) | 0, 1, .. | emulated:NAME; tune takes 0,1 or all",
     "tlebiVOr"},
    {"db", "PATH", "tuning database (default: see db path)", "tlebidILSXPDVOHcr"},
    {"cache", "DIR", "cache of compiled kernels", "tebVOr"},
    {"policy", "NAME",
     "what the winner is for: graph | graph+pdl | eager (default: graph, and "
     "graph+pdl where the GPU has it)",
     "tleLSDVr"},
    {"format", "NAME", "table (default) | json | jsonl | csv | md", "tlbiILSDVOcr"},
    {"effort", "NAME", "quick | full (default)", "tr"},
    {"budget", "TIME", "stop trying candidates after this long: 60s, 5m", "tr"},
    {"seed", "N", "of the explored candidates and the test data (default 1)", "tbVr"},
    {"jobs", "N", "compile processes (default: by cores and memory)", "tbiVr"},
    {"max-candidates", "N", "configs tried for each M (default: by effort)", "t"},
    {"force", nullptr, "measure again what the database already knows; replace a file", "tisXH"},
    {"no-wait", nullptr, "fail when another tuner holds the card, instead of waiting for it",
     "tbVr"},
    {"shared", nullptr, "measure although others use the card: processes, MPS, MIG slices", "tbVr"},
    {"config", "TEXT", "this config and no other; tune takes several", "te"},
    {"strict", nullptr, "exit 6 unless a tuned kernel answers", "l"},
    {"arch", "NAME", "sm_80 | sm_86 | sm_89 | sm_90a (default: the device's)", "e"},
    {"as", "FORM", "source (default) | ptx | resources", "e"},
    {"suite", "NAME", "bench: decode | prefill | all (default); --shape and --M replace its own",
     "b"},
    {"sweep", "COUNT", "regret: configs of each sweep, 0 for none (default 400)", "r"},
    {"processes", "COUNT", "regret: fresh processes that pick (default 1)", "r"},
    {"baseline", "NAME", "bench: cublas, the bf16 product of cuBLASLt", "b"},
    {"save", "FILE", "bench: keep the results as JSON; an interrupted run goes on from it", "br"},
    {"plot", "FILE", "bench: draw the results as SVG", "b"},
    {"from", "FILE", "bench: show what --save kept, of several runs the union; needs no GPU", "b"},
    {"memory", nullptr, "inspect: what a step takes, against the card's memory", "i"},
    {"batch", "B", "inspect: sequences of a step (default 1)", "i"},
    {"tokens", "T", "inspect: tokens of each sequence in a step (default 1)", "i"},
    {"tp", "R", "as one of R ranks of tensor parallelism; tune takes a list: 1,2,4", "tbi"},
    {"plan", nullptr, "tune: say what there is to do and about how long it takes; do nothing", "t"},
    {"shard", "I/N", "tune: the Ith of N parts of the work, for a cluster's array of jobs", "t"},
    {"layers", nullptr, "inspect: a row for each layer", "i"},
    {"provenance", "NAME", "db: winners that are measured | modelled", "LSDV"},
    {"history", "FILE", "db export: a database of everything, without what names the machine", "X"},
    {"sample", "N%", "of so many of the winners; bench: of those of each M (default 100%)", "Vb"},
    {"record", nullptr, "bench: add the run to the database's history, and judge it", "b"},
    {"winners", nullptr, "bench: measure what this card has winners for, not a suite", "b"},
    {"fail-on-regression", nullptr, "compare: exit 5 when what the library runs got slower", "c"},
    {"out", "DIR", "dashboard: the folder of the page", "H"},
    {"pack", "FILE", "inspect: write the packed weights, so that the next load maps them", "i"},
};

std::string environment_name(std::string_view option) {
  std::string name = "NVFP4_";
  for (char c : option) name += c == '-' ? '_' : static_cast<char>(std::toupper(c));
  return name;
}

bool truthy(std::string_view text) {
  return text == "1" || text == "true" || text == "yes" || text == "on";
}

}  // namespace

std::span<const OptionSpec> option_specs() { return kOptions; }

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

OptionValues::OptionValues(const CLI::App& app, char command) {
  for (const OptionSpec& spec : kOptions) {
    const CLI::Option* option = app.get_option(fmt::format("--{}", spec.name));
    Given given{.label = fmt::format("--{}", spec.name), .present = option->count() > 0};
    const bool applies = std::string_view(spec.commands).find(command) != std::string::npos;
    if (given.present && !applies) {
      throw UsageError(fmt::format("{} does not apply to this command", given.label));
    }
    if (spec.value != nullptr) given.texts = option->results();
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
