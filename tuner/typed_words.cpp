// SPDX-License-Identifier: Apache-2.0
// CLI11 splits the words and writes the help, both from the tables of commands and options.
#include "tuner/typed_words.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <string_view>
#include <utility>
#include <vector>

#include "tuner/option_table.h"

namespace nvfp4 {
namespace {

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

// "expected at least 1" becomes one clear line in our spelling.
std::string plain(std::string text) {
  const bool shouted = text.size() > 1 && std::isupper(text[1]) != 0;  // "FILE is required"
  if (!text.empty() && !shouted) text[0] = static_cast<char>(std::tolower(text[0]));
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

// The grammar. CLI11 puts what it reads into members.
class Grammar {
 public:
  Grammar();
  Grammar(const Grammar&) = delete;
  Grammar& operator=(const Grammar&) = delete;

  TypedWords split(std::span<const std::string> arguments);

  // Of the whole: one of a command alone would leave out the options, which are common to all.
  std::string help() const {
    return app_.get_formatter()->make_help(&app_, "nvfp4-tune", CLI::AppFormatMode::Normal);
  }

 private:
  void add_command(const CommandSpec& spec);
  std::string refusal(const CLI::ParseError& error) const;
  Command typed_command() const;

  CLI::App app_{"Generates, proves, measures and stores the W4A16 kernel for one NVFP4 layer.",
                "nvfp4-tune"};
  const CLI::Option* help_;
  const CLI::Option* version_;
  std::vector<std::pair<const OptionSpec*, const CLI::Option*>> options_;
  std::vector<std::pair<Command, const CLI::App*>> commands_;
  std::map<const CommandGroup*, CLI::App*> groups_;
  std::string worker_role_;
  std::vector<std::string> operands_;
};

Grammar::Grammar() {
  app_.footer(kExamples);
  app_.set_help_flag();
  app_.fallthrough();
  const std::string help_text = "print this and exit";
  const std::string version_text = "print the version and exit";
  help_ = app_.add_flag("-h,--help", help_text);
  version_ = app_.add_flag("--version", version_text);
  for (const OptionSpec& spec : option_specs()) {
    const std::string name = fmt::format("--{}", spec.name);
    CLI::Option* const option =
        spec.value == nullptr ? app_.add_flag(name, spec.help) : app_.add_option(name, spec.help);
    if (spec.value != nullptr) {
      option->type_name(spec.value)
          ->expected(1)
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    }
    options_.emplace_back(&spec, option);
  }
  app_.add_option("--worker", worker_role_)->group("");
  for (const CommandSpec& spec : command_specs()) add_command(spec);
  app_.require_subcommand(0, 1);
}

void Grammar::add_command(const CommandSpec& spec) {
  CLI::App* parent = &app_;
  if (spec.group != nullptr) {
    CLI::App*& group = groups_[spec.group];
    if (group == nullptr) {
      group = app_.add_subcommand(spec.group->name, spec.group->summary);
      group->fallthrough()->set_help_flag();
      group->require_subcommand(1);
    }
    parent = group;
  }
  CLI::App* const command = parent->add_subcommand(spec.name, spec.summary);
  command->fallthrough()->set_help_flag();
  if (spec.operands != nullptr) {
    CLI::Option* const operands = command->add_option(spec.operands, operands_);
    operands->expected(std::max(1, spec.fewest), spec.most)->required(spec.fewest > 0);
  }
  commands_.emplace_back(spec.command, command);
}

Command Grammar::typed_command() const {
  if (version_->count() > 0) return Command::version;
  if (!worker_role_.empty()) return Command::worker;
  const auto typed = std::find_if(commands_.begin(), commands_.end(),
                                  [](const auto& command) { return command.second->parsed(); });
  return typed == commands_.end() ? Command::tune : typed->first;
}

/// What was wrong, in one line. Of a group that lacks its command, which ones there are.
std::string Grammar::refusal(const CLI::ParseError& error) const {
  for (const auto& [spec, group] : groups_) {
    if (!group->parsed() || !group->get_subcommands().empty()) continue;
    std::vector<std::string_view> names;
    for (const CommandSpec& each : command_specs()) {
      if (each.group == spec) names.push_back(each.name);
    }
    return fmt::format("{} needs one of {}", spec->name, fmt::join(names, ", "));
  }
  return plain(error.what());
}

TypedWords Grammar::split(std::span<const std::string> arguments) {
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app_.parse(reversed);
  } catch (const CLI::ParseError& error) {
    if (help_->count() == 0) throw UsageError(refusal(error));
  }
  if (help_->count() > 0) return {.command = Command::help};
  TypedWords typed{.command = typed_command(), .operands = operands_, .worker_role = worker_role_};
  for (const auto& [spec, option] : options_) {
    if (option->count() == 0) continue;
    std::vector<std::string>& values = typed.options[spec->name];
    if (spec->value != nullptr) values = option->results();
  }
  return typed;
}

}  // namespace

TypedWords split_words(std::span<const std::string> arguments) {
  return Grammar().split(arguments);
}

std::string help_text() { return Grammar().help(); }

}  // namespace nvfp4
