// SPDX-License-Identifier: Apache-2.0
// Options from the command line and from the environment, and the words of a refusal.
#include "tuner/option_values.h"

#include <doctest/doctest.h>

#include <string>

#include "tests/temporary_folder.h"
#include "tuner/typed_words.h"

using namespace nvfp4;

namespace {

// The values that a command sees for some words.
OptionValues values(std::vector<std::string> words, const char* command = nullptr) {
  if (command != nullptr) words.push_back(command);
  return OptionValues(split_words(words));
}

template <class Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

std::optional<int> parse_digit(std::string_view text) {
  return text.size() == 1 && text[0] >= '0' && text[0] <= '9' ? std::optional(text[0] - '0')
                                                              : std::nullopt;
}

}  // namespace

TEST_SUITE("option_values") {
  TEST_CASE("one value, several, or none") {
    const OptionValues v = values({"--device", "0", "--config", "a", "--config", "b"});
    CHECK(*v.one("device") == "0");
    CHECK(v.one("cache") == nullptr);
    CHECK(v.all("config") == std::vector<std::string>{"a", "b"});
    CHECK(v.all("cache").empty());
    CHECK(refusal([&] { v.one("config"); }) == "--config is given twice");
  }

  TEST_CASE("flags are there or not") {
    CHECK(values({"--force"}).flag("force"));
    CHECK_FALSE(values({}).flag("force"));
  }

  TEST_CASE("an option that means nothing to the command is refused") {
    CHECK(refusal([] { values({"--save", "x"}); }) == "--save does not apply to this command");
    CHECK(refusal([] { values({"--save", "x"}, "bench"); }) == "accepted");
    CHECK(refusal([] {
            values({"--policy", "graph"}, "bench");
          }) == "--policy does not apply to this command");
  }

  TEST_CASE("the environment speaks where the command line is silent, and only where it applies") {
    const ScopedEnvironment device("NVFP4_DEVICE", "emulated:h100");
    const ScopedEnvironment jobs("NVFP4_MAX_CANDIDATES", "7");
    const ScopedEnvironment save("NVFP4_SAVE", "x.json");
    const OptionValues v = values({});
    CHECK(*v.one("device") == "emulated:h100");
    CHECK(v.label("device") == "NVFP4_DEVICE");
    CHECK(*v.one("max-candidates") == "7");
    CHECK(v.one("save") == nullptr);  // not tune's
    CHECK(*values({}, "bench").one("save") == "x.json");
    const OptionValues given = values({"--device", "1"});
    CHECK(*given.one("device") == "1");
    CHECK(given.label("device") == "--device");
  }

  TEST_CASE("an empty variable is none, and a flag's variable must say yes") {
    const ScopedEnvironment device("NVFP4_DEVICE", "");
    CHECK(values({}).one("device") == nullptr);
    for (const char* yes : {"1", "true", "yes", "on"}) {
      const ScopedEnvironment force("NVFP4_FORCE", yes);
      CHECK(values({}).flag("force"));
    }
    const ScopedEnvironment force("NVFP4_FORCE", "0");
    CHECK_FALSE(values({}).flag("force"));
  }

  TEST_CASE("a value that does not parse is named with what was wanted and where it came from") {
    CHECK(values({"--jobs", "4"}).parsed("jobs", parse_digit, "a digit") == 4);
    CHECK_FALSE(values({}).parsed("jobs", parse_digit, "a digit").has_value());
    CHECK(refusal([] {
            values({"--jobs", "x"}).parsed("jobs", parse_digit, "a digit");
          }) == "--jobs 'x' is not a digit");
    const ScopedEnvironment jobs("NVFP4_JOBS", "y");
    CHECK(refusal([] { values({}).parsed("jobs", parse_digit, "a digit"); }) ==
          "NVFP4_JOBS 'y' is not a digit");
  }
}
