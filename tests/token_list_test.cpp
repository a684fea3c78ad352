// SPDX-License-Identifier: Apache-2.0
// The grammar of --M.
#include "tuner/token_list.h"

#include <doctest/doctest.h>

#include <string>

#include "generator/problem.h"

using namespace nvfp4;
using Counts = std::vector<int64_t>;

namespace {

std::string refusal(const std::string& text) {
  try {
    parse_token_list(text);
  } catch (const TokenListError& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_SUITE("token_list") {
  TEST_CASE("counts and ranges make one ascending list without duplicates") {
    CHECK(parse_token_list("64") == Counts{64});
    CHECK(parse_token_list("4,1,2,4") == Counts{1, 2, 4});
    CHECK(parse_token_list("1:4") == Counts{1, 2, 3, 4});
    CHECK(parse_token_list("1,2,4:32*2") == Counts{1, 2, 4, 8, 16, 32});
    CHECK(parse_token_list("1:25+8") == Counts{1, 9, 17, 25});
    CHECK(parse_token_list("3:3") == Counts{3});
    CHECK(parse_token_list("3:20*3") == Counts{3, 9});
    CHECK(parse_token_list(std::to_string(kMaxM)) == Counts{kMaxM});
  }

  TEST_CASE("what is no token count is refused with what was typed") {
    CHECK(refusal("") == "the list of token counts is empty");
    CHECK(refusal("0") == "M = 0 is below 1");
    CHECK(refusal("100000000") == "M = 100000000 exceeds 1048576");
    CHECK(refusal("99999999999999999999").find("exceeds") != std::string::npos);
    for (const char* text : {"abc", "-1x", "1,,2", ",", "1,", "1:", ":4", "1:4*", "1:4/2", "1 2",
                             "0x10", "1.5", "1:2:3", "4+2"}) {
      CAPTURE(text);
      CHECK(refusal(text) != "accepted");
    }
  }

  TEST_CASE("a range that never ends, runs backwards or is endless is refused") {
    CHECK(refusal("8:1").find("before its start") != std::string::npos);
    CHECK(refusal("1:8*1").find("never ends") != std::string::npos);
    CHECK(refusal("1:8+0") != "accepted");
    CHECK(refusal("1:1000000").find("4096") != std::string::npos);
    CHECK(refusal("1:4096,5000") != "accepted");
  }
}
