// SPDX-License-Identifier: Apache-2.0
// Decodes UTF-8 one character at a time; what does not decode is shown byte by byte.
#include "runtime/quoted_name.h"

#include <fmt/format.h>

#include <cstdint>

namespace nvfp4 {
namespace {

struct Character {
  uint32_t code = 0;
  size_t bytes = 0;  ///< 0: not UTF-8
};

Character decode(std::string_view text) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  if (at(0) < 0x80) return {at(0), 1};
  const size_t bytes = at(0) >= 0xf0 ? 4 : at(0) >= 0xe0 ? 3 : 2;
  if (at(0) < 0xc2 || at(0) > 0xf4 || text.size() < bytes) return {};
  uint32_t code = at(0) & (0x7fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((at(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (at(i) & 0x3fu);
  }
  constexpr uint32_t kLeast[5] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  return code < kLeast[bytes] || code > 0x10ffff || surrogate ? Character{}
                                                              : Character{code, bytes};
}

// Controls, and what changes the order or the look of the text around it without being seen.
bool hidden(uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0xad || code == 0x61c ||
         (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2060 && code <= 0x206f) || code == 0xfeff || code >= 0xe0000;
}

}  // namespace

std::string printable(std::string_view name, size_t shown_bytes) {
  std::string text;
  size_t at = 0;
  while (at < name.size() && text.size() < shown_bytes) {
    const Character c = decode(name.substr(at));
    if (c.bytes == 0 || c.code < 0x20 || c.code == 0x7f) {
      text += fmt::format("\\x{:02x}", static_cast<uint8_t>(name[at]));
    } else if (hidden(c.code)) {
      text += fmt::format("\\u{:04x}", c.code);
    } else {
      text += name.substr(at, c.bytes);
    }
    at += c.bytes == 0 ? 1 : c.bytes;
  }
  if (at < name.size()) text += fmt::format("... ({} bytes)", name.size());
  return text;
}

std::string quoted_name(std::string_view name) { return fmt::format("'{}'", printable(name)); }

}  // namespace nvfp4
