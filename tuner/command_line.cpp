// SPDX-License-Identifier: Apache-2.0
// CLI11 splits the words; the meaning of each is checked here, so that a message names what was
// typed.
#include "tuner/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "generator/config_text.h"
#include "tuner/db_options.h"
#include "tuner/option_values.h"
#include "tuner/work_options.h"

namespace nvfp4 {
namespace {

constexpr char kVersion[] = "nvfp4-tune " NVFP4_VERSION;

constexpr char kExamples[] = R"(Examples:
  nvfp4-tune --shape 4096,4096 --M 64               tune one kernel and store the winner
  nvfp4-tune --shape 15360,3840 --M 1:512*2         ten token counts, 1, 2, 4 .. 512
  nvfp4-tune --shape 4096,4096 --M 64 --device emulated:h100
                                                    the same without a GPU: times are modelled
  nvfp4-tune --shape 1536,2048 --experts 128 --M 1:512*4
                                                    a mixture of experts: one launch for all of them
  nvfp4-tune --model gemma-4-31b --tp 1,2 --plan     what a whole model takes; without --plan: do it
  nvfp4-tune --model ./Qwen3-8B-NVFP4 --device all  on every GPU of this machine
  nvfp4-tune dashboard --out site                   history and limits as one page
  nvfp4-tune lookup --shape 4096,4096 --M 63        what the library would run, and why
  nvfp4-tune emit --shape 4096,4096 --M 64          its source as one file
  nvfp4-tune bench --suite decode --baseline cublas --save h100.json
                                                    time the stored winners against bf16
  nvfp4-tune bench --from a.json --from b.json --plot h100.svg --format md
                                                    the union of two such runs
  nvfp4-tune bench --winners --sample 10% --record
                                                    a nightly run for the history, judged
  nvfp4-tune compare latest~1 latest --fail-on-regression
                                                    what got slower since the run before
  nvfp4-tune inspect ./Qwen3-8B-NVFP4 --memory --batch 32
                                                    layers, problems, and whether it fits the card
  nvfp4-tune inspect ./Qwen3-8B-NVFP4 --pack qwen3-8b.packed
                                                    the packed weights as a file that is mapped
  nvfp4-tune regret --shape 4096,4096 --M 1,64 --effort quick --processes 20 --save regret.json
                                                    how good and how steady the tuner's choice is
  nvfp4-tune db info                                where winners are kept, and how many
  nvfp4-tune db show --shape 4096,4096 --M 64       one winner with its evidence
  nvfp4-tune db export > h100.csv                   winners as text; db build makes a database of it
  nvfp4-tune db import their.csv                    winners of others as hints for the next tuning
  nvfp4-tune db merge part-*.db --db all.db         what the tasks of a job array measured
  nvfp4-tune db verify --sample 5%                  measure some winners again
  nvfp4-tune doctor                                 what is missing on this machine, and what to do

Every long option has a twin in the environment: NVFP4_DEVICE for --device, NVFP4_MAX_CANDIDATES
for --max-candidates. The command line wins. Results go to standard output, the rest to standard error.

Exit codes: 0 ok, 1 failed, 2 usage, 3 no usable GPU, driver or NVRTC, 4 wrong results, 5 slower,
6 lookup --strict found no tuned kernel, 130 interrupted.)";

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
  if (line.shapes.empty() && !line.model)
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

// "expected at least 1" becomes one clear line in our spelling.
std::string plain(std::string text) {
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(text[0]));
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
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
  CLI::App app("Generates, proves, measures and stores the W4A16 kernel for one NVFP4 layer.",
               "nvfp4-tune");
  app.footer(kExamples);
  app.set_help_flag();
  app.fallthrough();
  const std::string help_text = "print this and exit";
  const std::string version_text = "print the version and exit";
  const CLI::Option* help = app.add_flag("-h,--help", help_text);
  const CLI::Option* version = app.add_flag("--version", version_text);
  for (const OptionSpec& spec : option_specs()) {
    CLI::Option* option = spec.value == nullptr
                              ? app.add_flag(fmt::format("--{}", spec.name), spec.help)
                              : app.add_option(fmt::format("--{}", spec.name), spec.help);
    if (spec.value != nullptr) {
      option->type_name(spec.value)
          ->expected(1)
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    }
  }
  std::string role;
  app.add_option("--worker", role)->group("");
  const CLI::App* lookup = app.add_subcommand("lookup", "say which kernel answers for a shape");
  const CLI::App* emit = app.add_subcommand("emit", "print a kernel: source, PTX or resources");
  const CLI::App* bench =
      app.add_subcommand("bench", "measure what the library would run, for a suite of shapes");
  const CLI::App* regret = app.add_subcommand(
      "regret", "say how good and how steady the tuner's choice is, against a sweep");
  CLI::App* compare = app.add_subcommand("compare", "say what got slower between two runs");
  CLI::App* inspect = app.add_subcommand(
      "inspect", "say what a checkpoint holds, needs, and what is wrong with it");
  const CLI::App* doctor =
      app.add_subcommand("doctor", "say what of GPU, driver, NVRTC, databases and cache is wrong");
  CommandLine line;
  inspect->add_option("DIR", line.checkpoint);
  compare->add_option("OLD NEW", line.compared)->expected(2)->required();
  const DbOptions db(app);
  const CLI::App* dashboard =
      app.add_subcommand("dashboard", "write databases as one page for a browser: --out DIR");
  app.require_subcommand(0, 1);
  for (CLI::App* sub : app.get_subcommands({})) sub->fallthrough()->set_help_flag();

  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    if (help->count() == 0) throw UsageError(plain(error.what()));
  }
  if (help->count() > 0) {
    line.command = Command::help;
    // app.help() would describe only the subcommand, which shares every option with the rest.
    line.text = app.get_formatter()->make_help(&app, "nvfp4-tune", CLI::AppFormatMode::Normal);
    return line;
  }
  if (version->count() > 0) {
    line.command = Command::version;
    line.text = kVersion;
    return line;
  }
  if (!role.empty()) {
    line.command = Command::worker;
    line.worker_role = role;
    return line;
  }
  std::vector<std::string> words = {"nvfp4-tune"};
  for (const std::string& argument : arguments) words.push_back(quoted(argument));
  line.text = fmt::format("{}", fmt::join(words, " "));
  line.arguments.assign(arguments.begin(), arguments.end());
  char command = 't';
  if (lookup->parsed()) std::tie(line.command, command) = std::pair(Command::lookup, 'l');
  if (emit->parsed()) std::tie(line.command, command) = std::pair(Command::emit, 'e');
  if (bench->parsed()) std::tie(line.command, command) = std::pair(Command::bench, 'b');
  if (regret->parsed()) std::tie(line.command, command) = std::pair(Command::regret, 'r');
  if (compare->parsed()) std::tie(line.command, command) = std::pair(Command::compare, 'c');
  if (inspect->parsed()) std::tie(line.command, command) = std::pair(Command::inspect, 'i');
  if (dashboard->parsed()) std::tie(line.command, command) = std::pair(Command::dashboard, 'H');
  if (db.parsed()) std::tie(line.command, command) = std::pair(Command::db, db.letter());
  if (doctor->parsed()) std::tie(line.command, command) = std::pair(Command::doctor, 'O');
  const OptionValues values(app, command);
  read_options(values, line);
  if (line.command == Command::doctor) return line;
  if (line.command == Command::db) {
    line.db_request = db.read(values);
    return line;
  }
  if (line.command == Command::compare) {
    line.fail_on_regression = values.flag("fail-on-regression");
    return line;
  }
  if (line.command == Command::dashboard) {
    read_dashboard(values, line);
    return line;
  }
  if (line.command == Command::inspect) {
    read_inspect(values, line);
    return line;
  }
  if (line.command == Command::bench || line.command == Command::regret) {
    (line.command == Command::bench ? read_bench : read_regret)(values, line);
    return line;
  }
  read_configs(values, line);
  read_work(values, line);
  return line;
}

}  // namespace nvfp4
