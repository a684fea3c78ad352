// SPDX-License-Identifier: Apache-2.0
// The patterns with which quantisation configs name layers: exact names, globs, and regular
// expressions of a checkpoint from a stranger. Matching takes time in proportion to both lengths:
// no backtracking, so no pattern can hold the reader up.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nvfp4 {

class NamePattern {
 public:
  /// modelopt: the whole name, where '*' stands for anything.
  static NamePattern glob(std::string_view text);

  /// compressed-tensors, after "re:": matched at the start of a name, as Python's re.match.
  /// Literals,
  /// '.', escapes, \d, [classes], '*', '+', '?', '^' and '$'; empty when there is more in it.
  static std::optional<NamePattern> regex(std::string_view text);

  bool matches(std::string_view name) const;

 private:
  struct Step {
    std::vector<bool> accepts;  ///< by byte
    bool optional = false;      ///< may be left out
    bool repeated = false;
  };
  static Step step(unsigned char c);
  static Step any_step();
  static std::optional<Step> read_step(std::string_view& text);

  std::vector<Step> steps_;
  bool to_end_ = true;  ///< nothing of the name may be left
};

}  // namespace nvfp4
