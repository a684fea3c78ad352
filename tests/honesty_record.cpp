// SPDX-License-Identifier: Apache-2.0
// Writes tests/data/honesty_h100.txt on a real H100:  honesty_record > honesty_h100.txt
#include <cstdio>

#include "tests/honesty.h"

int main() {
  using namespace nvfp4;
  const Gpu gpu = open_device("0").gpu;
  const Compiler compiler = Compiler::open(gpu.driver().version());
  fmt::print("# {}, driver {}, NVRTC {}\n", gpu.facts().name, gpu.driver().version(),
             compiler.version());
  int wrong = 0;
  const std::vector<honesty::Pair> pairs = honesty::pairs(100);
  const std::vector<Compilation> compiled = honesty::compile(compiler, pairs, gpu.facts().arch, 16);
  for (size_t i = 0; i < pairs.size(); ++i) {
    bool ok = false;
    const std::string digest = honesty::output_digest(gpu, compiled[i], pairs[i], ok);
    fmt::print("{} {}\n", honesty::text(pairs[i]), digest);
    wrong += !ok;
  }
  fmt::print(stderr, "{} of 100 outputs are wrong\n", wrong);
  return wrong > 0;
}
