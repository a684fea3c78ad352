// SPDX-License-Identifier: Apache-2.0
// The command line: what is accepted, what is refused with which words, and the environment's
// twins.
#include "tuner/command_line.h"

#include <doctest/doctest.h>

#include <sstream>
#include <string>

#include "tests/temporary_folder.h"

using namespace nvfp4;
using namespace std::chrono_literals;

namespace {

CommandLine parse(const std::string& words) {
  std::istringstream stream(words);
  std::vector<std::string> arguments;
  for (std::string word; stream >> word;) arguments.push_back(word);
  return parse_command_line(arguments);
}

std::string refusal(const std::string& words) {
  try {
    parse(words);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE("command_line") {
  TEST_CASE("a shape and token counts are enough to tune") {
    const CommandLine line = parse("--shape 15360,3840 --M 1,8:32*2");
    CHECK(line.command == Command::tune);
    CHECK(line.n == 15360);
    CHECK(line.k == 3840);
    CHECK(line.tokens == std::vector<int64_t>{1, 8, 16, 32});
    CHECK(line.device == "auto");
    CHECK(line.effort == Effort::full);
    CHECK_FALSE(line.policy.has_value());
    CHECK(line.text == "nvfp4-tune --shape 15360,3840 --M 1,8:32*2");
  }

  TEST_CASE("options mean the same wherever they stand") {
    for (const char* words : {"lookup --shape 64,128 --M 4 --strict --format json",
                              "--shape 64,128 lookup --format=json --M 4 --strict",
                              "--format json --strict --M 4 --shape 64,128 lookup"}) {
      CAPTURE(words);
      const CommandLine line = parse(words);
      CHECK(line.command == Command::lookup);
      CHECK(line.n == 64);
      CHECK(line.tokens == std::vector<int64_t>{4});
      CHECK(line.strict);
      CHECK(line.format == Format::json);
    }
  }

  TEST_CASE("every command is reached by its words") {
    CHECK(parse("--help").command == Command::help);
    CHECK(contains(parse("lookup --help").text, "--max-candidates"));
    CHECK(contains(parse("--help").text, "Exit codes"));
    CHECK(parse("--version").command == Command::version);
    CHECK(parse("--worker bench").worker_role == "bench");
    const CommandLine emit =
        parse("emit --shape 64,64 --config family=mma,act=bf16,block_n=32 --arch sm_80 --as ptx");
    CHECK(emit.command == Command::emit);
    CHECK(emit.configs.at(0).block_n == 32);
    CHECK(emit.arch == Arch{8, 0});
    CHECK(emit.as == EmitForm::ptx);
  }

  TEST_CASE("inspect takes a folder and says how large a step is") {
    const CommandLine line =
        parse("inspect ./model --memory --batch 4 --tokens 16 --tp 2 --layers --pack p --force");
    CHECK(line.command == Command::inspect);
    CHECK(line.checkpoint == "./model");
    CHECK(line.memory);
    CHECK(line.layers);
    CHECK(line.batch == 4);
    CHECK(line.step_tokens == 16);
    CHECK(line.ranks == 2);
    CHECK(line.pack == "p");
    CHECK(line.force);
    CHECK(contains(refusal("inspect"), "folder"));
    CHECK(contains(refusal("inspect a b"), "b"));
    CHECK(contains(refusal("inspect a --tokens 0"), "--tokens '0'"));
    CHECK(contains(refusal("inspect a --pack="), "--pack"));
    CHECK(contains(refusal("inspect a --budget 1s"), "--budget does not apply"));
    CHECK(contains(parse("--help").text, "nvfp4-tune inspect"));
  }

  TEST_CASE("a bad shape is refused with what was typed and why") {
    CHECK(contains(refusal("--M 1 --shape 0,64"), "'0,64'"));
    CHECK(contains(refusal("--M 1 --shape -1,4096"), "-1"));
    CHECK(contains(refusal("--M 1 --shape 4096"), "is not N,K"));
    CHECK(contains(refusal("--M 1 --shape 4096x4096"), "is not N,K"));
    CHECK(contains(refusal("--M 1 --shape abc"), "is not N,K"));
    CHECK(contains(refusal("--M 1 --shape 64,100"), "multiple of 16"));
    CHECK(contains(refusal("--M 1 --shape 2147483648,2147483648"), "exceeds"));
    CHECK(contains(refusal("--M 1 --shape 99999999999999999999,64"), "is not N,K"));
    CHECK(contains(refusal("--M 1 --shape 64,64,64"), "is not N,K"));
    CHECK(contains(refusal("--M 1"), "--shape"));
  }

  TEST_CASE("bad values of other options name the option") {
    const std::string shape = "--shape 64,64 ";
    CHECK(contains(refusal(shape), "--M"));
    CHECK(contains(refusal(shape + "--M 0"), "below 1"));
    CHECK(contains(refusal(shape + "--M 100000000"), "exceeds"));
    CHECK(contains(refusal(shape + "--M="), "--M"));
    for (const char* option :
         {"--act fp8", "--format xml", "--effort slow", "--budget soon", "--budget 0s", "--jobs 0",
          "--jobs x", "--seed -1", "--policy pdl", "--max-candidates 0", "--config foo"}) {
      CAPTURE(option);
      CHECK(contains(refusal(shape + "--M 1 " + option),
                     std::string(option).substr(0, std::string(option).find(' '))));
    }
    CHECK(contains(refusal(shape + "--M 1 --config family=mma,act=fp16"), "--act bf16"));
    CHECK(contains(refusal("emit " + shape + "--M 1 --arch sm_1x"), "--arch"));
    CHECK(contains(refusal("emit " + shape + "--M 1,2"), "one token count"));
  }

  TEST_CASE("what does not belong is refused, not ignored") {
    CHECK(contains(refusal("--shape 64,64 --M 1 --strict"), "--strict does not apply"));
    CHECK(contains(refusal("lookup --shape 64,64 --M 1 --budget 1s"), "--budget does not apply"));
    CHECK(contains(refusal("--shape 64,64 --M 1 --bogus"), "--bogus"));
    CHECK(contains(refusal("--shape 64,64 --M 1 extra"), "extra"));
    CHECK(contains(refusal("lookup --shape 64,64 --shape 128,64 --M 1"), "given twice"));
    CHECK(refusal("lookup emit --shape 64,64 --M 1") != "accepted");
    CHECK(refusal("db") != "accepted");
    CHECK(refusal("--shape") != "accepted");
  }

  TEST_CASE("each long option has a twin in the environment, and the command line wins") {
    const ScopedEnvironment device("NVFP4_DEVICE", "emulated:a100");
    const ScopedEnvironment m("NVFP4_M", "7");
    const ScopedEnvironment limit("NVFP4_MAX_CANDIDATES", "5");
    const ScopedEnvironment force("NVFP4_FORCE", "1");
    const CommandLine line = parse("--shape 64,64");
    CHECK(line.device == "emulated:a100");
    CHECK(line.tokens == std::vector<int64_t>{7});
    CHECK(line.max_candidates == 5);
    CHECK(line.force);
    CHECK(parse("--shape 64,64 --device 0 --M 1").device == "0");
    // A twin of an option that means nothing to a command is no mistake.
    CHECK(parse("lookup --shape 64,64").command == Command::lookup);
    const ScopedEnvironment bad("NVFP4_M", "many");
    CHECK(contains(refusal("--shape 64,64"), "NVFP4_M"));
    const ScopedEnvironment off("NVFP4_FORCE", "0");
    CHECK_FALSE(parse("--shape 64,64 --M 1").force);
  }

  TEST_CASE("durations take the units people write") {
    CHECK(parse_duration("90s") == 90s);
    CHECK(parse_duration("5m") == 5min);
    CHECK(parse_duration("1.5h") == 90min);
    CHECK(parse_duration("250ms") == 250ms);
    CHECK(parse_duration("10") == 10s);
    for (const char* text : {"", "s", "-1s", "0", "1d", "1s ", "nan", "inf", "1e30h"}) {
      CAPTURE(text);
      CHECK_FALSE(parse_duration(text).has_value());
    }
  }

  TEST_CASE("bench measures the whole suite unless it is told what") {
    const CommandLine all = parse("bench");
    CHECK(all.command == Command::bench);
    CHECK(all.shapes.size() == 10);
    CHECK(all.tokens.size() == 10);
    CHECK_FALSE(all.baseline);
    CHECK(parse("bench --suite decode").tokens == std::vector<int64_t>{1, 8, 16, 32, 64});
    CHECK(parse("bench --suite prefill").tokens.front() == 128);
    const CommandLine some =
        parse("bench --shape 64,128 --M 1,4:16*2 --shape 128,64 --shape 64,128 --baseline cublas");
    CHECK(some.shapes == std::vector<Shape>{{64, 128}, {128, 64}});  // each once
    CHECK(some.tokens == std::vector<int64_t>{1, 4, 8, 16});
    CHECK(some.baseline);
    CHECK(parse("bench --shape 64,128").tokens.size() == 10);
  }

  TEST_CASE("bench shows several files, and keeps and draws their union") {
    const CommandLine line = parse("bench --from a.json --from b.json --save c --plot d.svg");
    CHECK(line.from == std::vector<std::string>{"a.json", "b.json"});
    CHECK(line.save == "c");
    CHECK(line.plot == "d.svg");
    for (const char* option : {"--suite decode", "--shape 64,64", "--M 1", "--baseline cublas",
                               "--device 0", "--act fp16"}) {
      CHECK(contains(refusal(std::string("bench --from a.json ") + option),
                     "does not apply to what --from reads"));
    }
    // A variable that is set for good is no mistake.
    const ScopedEnvironment device("NVFP4_DEVICE", "0");
    CHECK(parse("bench --from a.json").from.size() == 1);
  }

  TEST_CASE("bad values of bench's options name the option") {
    CHECK(contains(refusal("bench --suite all --suite all"), "--suite is given twice"));
    CHECK(contains(refusal("bench --suite everything"), "decode, prefill or all"));
    CHECK(contains(refusal("bench --baseline cutlass"), "--baseline 'cutlass' is not cublas"));
    CHECK(contains(refusal("bench --save="), "--save"));
    CHECK(contains(refusal("bench --from="), "--from"));
    CHECK(contains(refusal("bench --save a --plot a"), "--save and --plot name the same file"));
    CHECK(contains(refusal("bench --shape 64,100"), "multiple of 16"));
    CHECK(contains(refusal("bench --M 0"), "below 1"));
    CHECK(contains(refusal("bench --policy graph"), "--policy does not apply"));
    CHECK(contains(refusal("--shape 64,64 --M 1 --save a"), "--save does not apply"));
  }
}
