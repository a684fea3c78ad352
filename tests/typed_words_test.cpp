// SPDX-License-Identifier: Apache-2.0
// The tables of commands and options, and command lines split by them.
#include "tuner/typed_words.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <set>
#include <string>

#include "tuner/option_table.h"

using namespace nvfp4;

namespace {

// What typing a command takes: its words, and as many operands as it wants.
std::vector<std::string> words_of(const CommandSpec& spec) {
  std::vector<std::string> words;
  if (spec.group != nullptr) words.push_back(spec.group->name);
  words.push_back(spec.name);
  words.insert(words.end(), spec.fewest, "x");
  return words;
}

std::string refusal(const std::vector<std::string>& words) {
  try {
    split_words(words);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_SUITE("typed_words") {
  TEST_CASE("a set of commands holds what it was made of and no more") {
    constexpr Commands set = Command::emit | Command::bench | Command::worker;
    CHECK(set.contains(Command::emit));
    CHECK(set.contains(Command::worker));
    CHECK_FALSE(set.contains(Command::tune));
    CHECK_FALSE(Commands::all_but(Command::emit).contains(Command::emit));
    CHECK(Commands::all_but(Command::emit).contains(Command::worker));
  }

  TEST_CASE("every command is one row, and typing its words names it") {
    std::set<Command> commands;
    for (const CommandSpec& spec : command_specs()) {
      CAPTURE(spec.name);
      CHECK(commands.insert(spec.command).second);
      const TypedWords typed = split_words(words_of(spec));
      CHECK(typed.command == spec.command);
      CHECK(static_cast<int>(typed.operands.size()) == spec.fewest);
    }
    CHECK(commands.size() == static_cast<size_t>(Command::dashboard));  // all but tune
  }

  TEST_CASE("a group without its command, or with a word that is none, names those it has") {
    for (const std::vector<std::string>& words : {std::vector<std::string>{"db"}, {"db", "dump"}}) {
      CHECK(refusal(words).starts_with("db needs one of path, info, list, "));
    }
  }

  TEST_CASE("every option has a name of its own, a help text and a command") {
    std::set<std::string> names;
    for (const OptionSpec& spec : option_specs()) {
      CAPTURE(spec.name);
      CHECK(names.insert(spec.name).second);
      CHECK_FALSE(std::string_view(spec.help).empty());
      bool applies = spec.commands.contains(Command::tune);
      for (const CommandSpec& of : command_specs()) applies |= spec.commands.contains(of.command);
      CHECK(applies);
    }
  }

  TEST_CASE("the help lists every word once, in the order of the tables") {
    const std::string help = help_text();
    size_t at = help.find("Options:");
    for (const OptionSpec& spec : option_specs()) {
      CAPTURE(spec.name);
      at = help.find(fmt::format("\n  --{} ", spec.name), at);
      REQUIRE(at != help.npos);
    }
    at = help.find("Subcommands:");
    for (const CommandSpec& spec : command_specs()) {
      CAPTURE(spec.name);
      if (spec.group != nullptr) continue;
      at = help.find(fmt::format("\n  {} ", spec.name), at);
      REQUIRE(at != help.npos);
    }
  }

  TEST_CASE("options are kept apart from what stands behind a command") {
    const TypedWords typed = split_words(
        std::vector<std::string>{"--db", "a", "compare", "old", "--db=b", "new", "--force"});
    CHECK(typed.command == Command::compare);
    CHECK(typed.operands == std::vector<std::string>{"old", "new"});
    CHECK(typed.options.at("db") == std::vector<std::string>{"a", "b"});
    CHECK(typed.options.at("force").empty());
    CHECK_FALSE(typed.options.contains("shape"));
  }

  TEST_CASE("too few words, too many and unknown ones are refused") {
    for (const CommandSpec& spec : command_specs()) {
      CAPTURE(spec.name);
      std::vector<std::string> words = words_of(spec);
      words.insert(words.end(), spec.most - spec.fewest + 1, "x");
      CHECK(refusal(words) != "accepted");
      if (spec.fewest == 0) continue;
      words.resize(words.size() - (spec.most - spec.fewest + 2));
      CHECK(refusal(words) != "accepted");
    }
    CHECK(refusal({"db"}) != "accepted");
    CHECK(refusal({"lookup", "emit"}) != "accepted");
    CHECK(refusal({"--no-such"}) != "accepted");
    CHECK(refusal({"--shape"}) == "--shape: 1 required N,K missing");
    CHECK(refusal({"compare", "a"}).starts_with("OLD NEW: "));
    CHECK(refusal({"inspect", "a", "b"}) == "DIR: At Most 1 required but received 2");
  }
}
