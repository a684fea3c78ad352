// SPDX-License-Identifier: Apache-2.0
// A mnemonic's parts, taken one by one; what is left over at the end is unknown and an error.
#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

namespace nvfp4::emulator {

class Mnemonic {
 public:
  explicit Mnemonic(std::string_view text) {
    while (!text.empty()) {
      const size_t length = text.find('.');
      parts_.push_back(text.substr(0, length));
      text.remove_prefix(length == text.npos ? text.size() : length + 1);
    }
  }

  std::string_view opcode() const { return parts_.front(); }

  /// Takes the next part if it reads so.
  bool take(std::string_view part) {
    if (next_ >= parts_.size() || parts_[next_] != part) return false;
    ++next_;
    return true;
  }

  /// Takes the next part if it is one of `choices`; empty otherwise.
  template <class Choices>
  std::string_view take_one_of(const Choices& choices) {
    if (next_ >= parts_.size()) return {};
    const auto found = std::find(std::begin(choices), std::end(choices), parts_[next_]);
    if (found == std::end(choices)) return {};
    return parts_[next_++];
  }

  std::string_view take_any() {
    return next_ < parts_.size() ? parts_[next_++] : std::string_view{};
  }
  bool done() const { return next_ == parts_.size(); }

 private:
  std::vector<std::string_view> parts_;
  size_t next_ = 1;
};

}  // namespace nvfp4::emulator
