// SPDX-License-Identifier: Apache-2.0
// Replays on the emulated device what a real H100 produced (tests/data/honesty_h100.txt, written by
// honesty_record on the card): the same bits, pair by pair.
#include "tests/honesty.h"

#include <doctest/doctest.h>

#include <fstream>

using namespace nvfp4;

TEST_SUITE("honesty") {
  TEST_CASE("100 random kernels give the same bits on the emulated and on the real H100") {
    std::ifstream file(NVFP4_SOURCE_DIR "/tests/data/honesty_h100.txt");
    REQUIRE(file);
    std::vector<honesty::Pair> pairs;
    std::vector<std::string> digests;
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("#")) continue;
      const std::optional<honesty::Pair> pair = honesty::parse(line);
      REQUIRE_MESSAGE(pair, line);
      pairs.push_back(*pair);
      digests.push_back(line.substr(line.rfind(' ') + 1));
    }
    REQUIRE(pairs.size() == 100);
    const Gpu gpu = open_device("emulated:h100").gpu;
    const std::vector<Compilation> compiled =
        honesty::compile(Compiler::open(), pairs, gpu.facts().arch, 2);
    for (size_t i = 0; i < pairs.size(); ++i) {
      const std::string pair = honesty::text(pairs[i]);
      CAPTURE(pair);
      bool ok = false;
      CHECK(honesty::output_digest(gpu, compiled[i], pairs[i], ok) == digests[i]);
      CHECK(ok);
    }
  }
}
