// SPDX-License-Identifier: Apache-2.0
// Register names while a body is parsed. Inline assembly opens scopes of its own, in which a name
// may stand for another register; "%r<120>" declares a prefix and a count at once.
#pragma once

#include <map>
#include <string_view>
#include <vector>

namespace nvfp4::emulator {

class RegisterScopes {
 public:
  void open(int number) { scopes_.push_back({number, {}}); }
  void close() { scopes_.pop_back(); }
  int innermost() const { return scopes_.back().number; }  ///< as given to open

  void declare(std::string_view name, int reg) { scopes_.back().names[name] = {reg, kSingle}; }
  /// Names `prefix`0 .. `prefix`(count - 1) for registers from `first` on.
  void declare_range(std::string_view prefix, int first, int count) {
    scopes_.back().names[prefix] = {first, count};
  }

  int find(std::string_view name) const;  ///< -1 when no scope declares it

 private:
  static constexpr int kSingle = -1;
  struct Range {
    int first;
    int count;
  };
  struct Scope {
    int number;
    std::map<std::string_view, Range> names;
  };
  std::vector<Scope> scopes_;
};

}  // namespace nvfp4::emulator
