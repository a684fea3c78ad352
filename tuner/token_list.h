// SPDX-License-Identifier: Apache-2.0
// The grammar of --M: a comma-separated list of counts and ranges. "1,2,4" is three counts, "1:8"
// steps by one, "4:512*2" doubles, "1:64+8" steps by eight. The result is sorted and free of
// duplicates.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace nvfp4 {

/// A list that does not parse, is empty, names a count no launch takes, or has too many entries.
class TokenListError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

constexpr size_t kMaxTokenCounts = 4096;  ///< entries of one list: more is a typo

/// Ascending token counts, each 1..kMaxM. Throws TokenListError.
std::vector<int64_t> parse_token_list(std::string_view text);

}  // namespace nvfp4
