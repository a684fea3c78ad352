// SPDX-License-Identifier: Apache-2.0
// The meaning of each word is checked here, so that a message names what was typed.
#include "tuner/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "generator/config_text.h"
#include "tuner/db_options.h"
#include "tuner/option_table.h"
#include "tuner/option_values.h"
#include "tuner/typed_words.h"
#include "tuner/work_options.h"

namespace nvfp4 {
namespace {

constexpr char kVersion[] = "nvfp4-tune " NVFP4_VERSION;

template <class Enum, size_t N>
auto one_of(const std::array<std::pair<std::string_view, Enum>, N>& names) {
  return [names](std::string_view text) -> std::optional<Enum> {
    for (const auto& [spelling, value] : names) {
      if (spelling == text) return value;
    }
    return std::nullopt;
  };
}

constexpr std::array<std::pair<std::string_view, Format>, 5> kFormats = {{{"table", Format::table},
                                                                          {"json", Format::json},
                                                                          {"jsonl", Format::jsonl},
                                                                          {"csv", Format::csv},
                                                                          {"md", Format::md}}};
constexpr std::array<std::pair<std::string_view, Effort>, 2> kEfforts = {
    {{"quick", Effort::quick}, {"full", Effort::full}}};
constexpr std::array<std::pair<std::string_view, EmitForm>, 3> kForms = {
    {{"source", EmitForm::source}, {"ptx", EmitForm::ptx}, {"resources", EmitForm::resources}}};

std::optional<uint64_t> parse_seed(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void read_regret(const OptionValues& values, CommandLine& line) {
  read_shapes(values, line);
  if (line.shapes.empty()) throw UsageError("--shape N,K is missing (example: --shape 4096,4096)");
  read_tokens(values, line);
  const auto count = [](std::string_view text) -> std::optional<int64_t> {
    const std::optional<int64_t> value = parse_integer(text);
    return value && *value >= 0 && *value <= 10'000 ? value : std::nullopt;
  };
  line.sweep = static_cast<int>(values.parsed("sweep", count, "a count to 10000").value_or(400));
  line.processes = static_cast<int>(
      values.parsed("processes", parse_positive, "a count of 1 or more").value_or(1));
  if (const std::string* text = values.one("save")) line.save = *text;
  if (line.save && line.save->empty()) {
    throw UsageError(fmt::format("{} is empty", values.label("save")));
  }
}

// What a saved file already answers cannot be asked again.
void check_from(const OptionValues& values) {
  for (const OptionSpec& spec : option_specs()) {
    const std::string_view name = spec.name;
    constexpr std::string_view kOfFiles[] = {"from", "save", "plot", "format", "record", "db"};
    if (std::count(std::begin(kOfFiles), std::end(kOfFiles), name) > 0) continue;
    if (!values.all(name).empty() && values.label(name).starts_with("--")) {
      throw UsageError(fmt::format("{} does not apply to what {} reads", values.label(name),
                                   values.label("from")));
    }
  }
}

void read_bench(const OptionValues& values, CommandLine& line) {
  const auto path = [&](std::string_view name) -> std::optional<std::string> {
    const std::string* text = values.one(name);
    if (text == nullptr) return std::nullopt;
    if (text->empty()) throw UsageError(fmt::format("{} is empty", values.label(name)));
    return *text;
  };
  line.save = path("save");
  line.plot = path("plot");
  if (line.save && line.save == line.plot) {
    throw UsageError(
        fmt::format("{} and {} name the same file", values.label("save"), values.label("plot")));
  }
  line.from = values.all("from");
  if (std::count(line.from.begin(), line.from.end(), "") > 0) {
    throw UsageError(fmt::format("{} is empty", values.label("from")));
  }
  line.record = values.flag("record");
  if (!line.from.empty()) return check_from(values);
  const auto sample = values.parsed("sample", parse_share, "a share above 0% up to 100%");
  line.sample = sample.value_or(1);
  line.winners = values.flag("winners") || sample;
  for (const char* cells : {"suite", "shape", "M"}) {
    if (line.winners && !values.all(cells).empty()) {
      throw UsageError(fmt::format("{} does not go with the stored winners of {}",
                                   values.label(cells), sample ? "--sample" : "--winners"));
    }
  }
  const auto baseline = [](std::string_view text) -> std::optional<bool> {
    return text == "cublas" ? std::optional(true) : std::nullopt;
  };
  line.baseline = values.parsed("baseline", baseline, "cublas").value_or(false);
  const Suite suite =
      values.parsed("suite", parse_suite, "decode, prefill or all").value_or(Suite::all);
  read_shapes(values, line);
  read_model_options(values, line);
  if (line.shapes.empty() && line.models.empty())
    line.shapes.assign(suite_shapes().begin(), suite_shapes().end());
  if (values.one("M") == nullptr) {
    line.tokens = suite_tokens(suite);
  } else {
    read_tokens(values, line);
  }
}

void read_inspect(const OptionValues& values, CommandLine& line) {
  if (line.checkpoint.empty()) throw UsageError("inspect needs a folder or a .safetensors file");
  line.memory = values.flag("memory");
  line.layers = values.flag("layers");
  line.batch = values.parsed("batch", parse_positive, "a count of 1 or more").value_or(1);
  line.step_tokens = values.parsed("tokens", parse_positive, "a count of 1 or more").value_or(1);
  line.ranks = values.parsed("tp", parse_positive, "a count of 1 or more").value_or(1);
  if (const std::string* text = values.one("pack")) line.pack = *text;
  if (line.pack && line.pack->empty()) {
    throw UsageError(fmt::format("{} is empty", values.label("pack")));
  }
  if (const std::optional<std::string> why = tokens_error(line.batch * line.step_tokens)) {
    throw UsageError(
        fmt::format("{} times {}: {}", values.label("batch"), values.label("tokens"), *why));
  }
}

void read_dashboard(const OptionValues& values, CommandLine& line) {
  const std::string* out = values.one("out");
  if (out == nullptr || out->empty()) {
    throw UsageError("--out DIR is missing (example: dashboard --out site)");
  }
  line.dashboard = {.out = *out, .databases = values.all("db")};
}

void read_configs(const OptionValues& values, CommandLine& line) {
  for (const std::string& text : values.all("config")) {
    const std::optional<KernelConfig> config = parse_config(text);
    if (!config) {
      throw UsageError(fmt::format("{} '{}' is not a config in canonical form (example: {})",
                                   values.label("config"), text, config_text(KernelConfig{})));
    }
    if (config->act != line.act) {
      throw UsageError(fmt::format("{} '{}' has other activations than --act {}",
                                   values.label("config"), text, name(line.act)));
    }
    line.configs.push_back(*config);
  }
  if (line.command == Command::emit && line.configs.size() > 1) {
    throw UsageError(fmt::format("emit takes one config, not {}", line.configs.size()));
  }
}

void read_options(const OptionValues& values, CommandLine& line) {
  if (const std::string* text = values.one("device")) line.device = *text;
  // A page is made of several.
  const bool several = line.command == Command::dashboard;
  if (const std::string* text = several ? nullptr : values.one("db")) line.db = *text;
  if (const std::string* text = values.one("cache")) line.cache = *text;
  line.act = values.parsed("act", parse_activation, "bf16 or fp16").value_or(line.act);
  line.policy = values.parsed("policy", parse_policy, "graph, graph+pdl or eager");
  line.format = values.parsed("format", one_of(kFormats), "table, json, jsonl, csv or md")
                    .value_or(line.format);
  line.effort = values.parsed("effort", one_of(kEfforts), "quick or full").value_or(line.effort);
  line.budget = values.parsed("budget", parse_duration, "a time (examples: 60s, 5m)");
  line.seed = values.parsed("seed", parse_seed, "a number of 0 or more").value_or(line.seed);
  line.jobs =
      static_cast<int>(values.parsed("jobs", parse_positive, "a count of 1 or more").value_or(0));
  line.max_candidates = static_cast<int>(
      values.parsed("max-candidates", parse_positive, "a count of 1 or more").value_or(0));
  line.force = values.flag("force");
  line.wait = !values.flag("no-wait");
  line.shared = values.flag("shared");
  line.strict = values.flag("strict");
  line.arch = values.parsed("arch", parse_arch, "an architecture (examples: sm_80, sm_90a)");
  line.as = values.parsed("as", one_of(kForms), "source, ptx or resources").value_or(line.as);
}

// What the command alone has.
void read_command(const OptionValues& values, const std::vector<std::string>& operands,
                  CommandLine& line) {
  switch (line.command) {
    case Command::tune:
    case Command::lookup:
    case Command::emit:
      read_configs(values, line);
      return read_work(values, line);
    case Command::bench:
      return read_bench(values, line);
    case Command::regret:
      return read_regret(values, line);
    case Command::compare:
      line.compared = operands;
      line.fail_on_regression = values.flag("fail-on-regression");
      return;
    case Command::inspect:
      if (!operands.empty()) line.checkpoint = operands.front();
      return read_inspect(values, line);
    case Command::doctor:
      return;
    case Command::dashboard:
      return read_dashboard(values, line);
    default:
      line.db_request = read_db(values, line.command, operands);
  }
}

std::string quoted(const std::string& word) {
  constexpr std::string_view kSafe = ",.:=+-_/*@%";
  const bool safe = !word.empty() && std::all_of(word.begin(), word.end(), [&](unsigned char c) {
    return std::isalnum(c) || kSafe.find(static_cast<char>(c)) != kSafe.npos;
  });
  return safe ? word : fmt::format("'{}'", word);
}

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit(end, text.data() + text.size() - end);
  const double scale = unit == "ms"                  ? 1
                       : unit == "s" || unit.empty() ? 1e3
                       : unit == "m"                 ? 60e3
                       : unit == "h"                 ? 3600e3
                                                     : 0;
  if (error != std::errc() || scale == 0 || !(value > 0) || value * scale > 1e10) {
    return std::nullopt;
  }
  return std::chrono::milliseconds(std::max<int64_t>(1, static_cast<int64_t>(value * scale)));
}

CommandLine parse_command_line(std::span<const std::string> arguments) {
  const TypedWords typed = split_words(arguments);
  CommandLine line{.command = typed.command, .worker_role = typed.worker_role};
  if (line.command == Command::worker) return line;
  if (line.command == Command::help || line.command == Command::version) {
    line.text = line.command == Command::help ? help_text() : kVersion;
    return line;
  }
  std::vector<std::string> words = {"nvfp4-tune"};
  for (const std::string& argument : arguments) words.push_back(quoted(argument));
  line.text = fmt::format("{}", fmt::join(words, " "));
  line.arguments.assign(arguments.begin(), arguments.end());
  const OptionValues values(typed);
  read_options(values, line);
  read_command(values, typed.operands, line);
  return line;
}

}  // namespace nvfp4
