// SPDX-License-Identifier: Apache-2.0
// The shapes and token counts that bench measures when it is not told others: linear layers of
// models of 7 to 70 billion parameters, up and down projections both.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace nvfp4 {

/// Output features and input features of one linear layer.
struct Shape {
  int64_t n = 0;
  int64_t k = 0;

  friend bool operator==(const Shape&, const Shape&) = default;
};

enum class Suite { decode, prefill, all };

/// "decode", "prefill" or "all".
std::optional<Suite> parse_suite(std::string_view text);

std::span<const Shape> suite_shapes();

/// Ascending. decode: 1 to 64 tokens at once; prefill: 128 to 4096, one of them odd to the tiles.
std::vector<int64_t> suite_tokens(Suite suite);

}  // namespace nvfp4
