// SPDX-License-Identifier: Apache-2.0
// The lists.
#include "tuner/suite.h"

namespace nvfp4 {
namespace {

constexpr Shape kShapes[] = {
    {4096, 4096},  {6144, 4096},  {14336, 4096}, {4096, 14336}, {15360, 3840},
    {3840, 15360}, {21504, 5376}, {5376, 21504}, {28672, 8192}, {8192, 28672},
};
constexpr int64_t kDecode[] = {1, 8, 16, 32, 64};
// 482 is no multiple of any token tile: its last tile is a remainder.
constexpr int64_t kPrefill[] = {128, 256, 482, 1024, 4096};

}  // namespace

std::optional<Suite> parse_suite(std::string_view text) {
  if (text == "decode") return Suite::decode;
  if (text == "prefill") return Suite::prefill;
  if (text == "all") return Suite::all;
  return std::nullopt;
}

std::span<const Shape> suite_shapes() { return kShapes; }

std::vector<int64_t> suite_tokens(Suite suite) {
  std::vector<int64_t> tokens;
  for (int64_t m : kDecode) {
    if (suite != Suite::prefill) tokens.push_back(m);
  }
  for (int64_t m : kPrefill) {
    if (suite != Suite::decode) tokens.push_back(m);
  }
  return tokens;
}

}  // namespace nvfp4
