// SPDX-License-Identifier: Apache-2.0
// Content identity: SHA-256 over typed, delimited fields, so that ("ab", "c") and ("a", "bc")
// differ.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace nvfp4 {

class Digest {
 public:
  /// `domain` separates uses: two domains never share a value.
  explicit Digest(std::string_view domain);
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  Digest& field(std::string_view tag, std::string_view value);
  Digest& field(std::string_view tag, int64_t value);

  /// 64 lower-case hex digits. The digest is spent afterwards.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Plain SHA-256 of bytes, in hex.
std::string sha256_hex(std::string_view bytes);

}  // namespace nvfp4
