// SPDX-License-Identifier: Apache-2.0
// The scanner behind ptx_lexer.h.
#include "runtime/emulator/ptx_lexer.h"

#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <cstdlib>
#include <string>

#include "runtime/emulator/machine.h"

namespace nvfp4::emulator {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%' ||
         c == '.';
}
bool is_word(char c) { return is_word_start(c) || is_digit(c); }

}  // namespace

PtxError::PtxError(int at, const std::string& what)
    : std::runtime_error(fmt::format("PTX line {}: {}", at, what)), line(at) {}

PtxLexer::PtxLexer(std::string_view text) : text_(text) {
  if (const size_t nul = text_.find('\0'); nul != text_.npos) text_ = text_.substr(0, nul);
  advance();
}

Token PtxLexer::next() {
  const Token taken = token_;
  advance();
  return taken;
}

bool PtxLexer::take(std::string_view text) {
  if (token_.text != text || token_.kind == TokenKind::end) return false;
  advance();
  return true;
}

Token PtxLexer::expect(std::string_view text) {
  if (token_.text != text || token_.kind == TokenKind::end) {
    throw PtxError(token_.line, fmt::format("expected '{}' before '{}'", text, token_.text));
  }
  return next();
}

Token PtxLexer::expect_word(std::string_view what) {
  if (token_.kind != TokenKind::word) {
    throw PtxError(token_.line, fmt::format("expected {} before '{}'", what, token_.text));
  }
  return next();
}

void PtxLexer::skip_line() {
  while (position_ < text_.size() && text_[position_] != '\n') ++position_;
}

void PtxLexer::skip_blank() {
  while (position_ < text_.size()) {
    const char c = text_[position_];
    if (c == '\n') ++line_;
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
      ++position_;
    } else if (text_.compare(position_, 2, "//") == 0) {
      skip_line();
    } else if (text_.compare(position_, 2, "/*") == 0) {
      const size_t end = text_.find("*/", position_);
      if (end == text_.npos) throw PtxError(line_, "comment without end");
      for (; position_ < end + 2; ++position_) line_ += text_[position_] == '\n';
    } else {
      return;
    }
  }
}

void PtxLexer::advance() {
  do {
    skip_blank();
    token_ = scan();
    position_ += token_.text.size();
    if (token_.text != ".loc" && token_.text != ".file") return;
    skip_line();
  } while (true);
}

Token PtxLexer::scan() const {
  Token token;
  token.line = line_;
  if (position_ >= text_.size()) return token;
  const std::string_view rest = text_.substr(position_);
  size_t length = 1;
  if (is_word_start(rest[0])) {
    token.kind = TokenKind::word;
    while (length < rest.size()) {
      // "::" joins a word (L1::no_allocate); a single ':' ends a label.
      if (rest.compare(length, 2, "::") == 0) {
        length += 2;
      } else if (is_word(rest[length])) {
        ++length;
      } else {
        break;
      }
    }
  } else if (is_digit(rest[0])) {
    token.kind = TokenKind::number;
    while (length < rest.size() &&
           (is_word(rest[length]) || ((rest[length] == '+' || rest[length] == '-') &&
                                      (rest[length - 1] == 'e' || rest[length - 1] == 'E') &&
                                      rest[1] != 'x' && rest[1] != 'f' && rest[1] != 'd'))) {
      ++length;
    }
  } else if (rest[0] == '"') {
    token.kind = TokenKind::string;
    length = rest.find('"', 1);
    if (length == rest.npos) throw PtxError(line_, "string without end");
    ++length;
  } else {
    token.kind = TokenKind::punctuation;
    if (std::string_view(",;[](){}<>@!|:+-=").find(rest[0]) == std::string_view::npos) {
      throw PtxError(line_, fmt::format("stray character '{}'", rest[0]));
    }
  }
  token.text = rest.substr(0, length);
  return token;
}

NumberBits parse_number(const Token& token) {
  std::string_view text = token.text;
  const auto malformed = [&] {
    return PtxError(token.line, fmt::format("malformed number '{}'", token.text));
  };
  if (token.kind != TokenKind::number) throw malformed();
  const auto digits_value = [&](std::string_view digits, int base) {
    uint64_t bits = 0;
    if (!digits.empty() && digits.back() == 'U') digits.remove_suffix(1);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), bits, base);
    if (error != std::errc() || end != digits.data() + digits.size()) throw malformed();
    return bits;
  };
  if (text.size() > 2 && text[0] == '0') {
    const char kind = text[1];
    if (kind == 'x' || kind == 'X')
      return {NumberBits::Kind::integer, digits_value(text.substr(2), 16)};
    if (kind == 'b' || kind == 'B')
      return {NumberBits::Kind::integer, digits_value(text.substr(2), 2)};
    if (kind == 'f' || kind == 'F' || kind == 'd' || kind == 'D') {
      const bool wide = kind == 'd' || kind == 'D';
      if (text.size() != (wide ? 18u : 10u)) throw malformed();
      return {wide ? NumberBits::Kind::real : NumberBits::Kind::single,
              digits_value(text.substr(2), 16)};
    }
  }
  if (text.find_first_of(".eE") != text.npos) {
    const std::string copy(text);
    char* end = nullptr;
    const double value = std::strtod(copy.c_str(), &end);
    if (*end != '\0') throw malformed();
    return {NumberBits::Kind::real, std::bit_cast<uint64_t>(value)};
  }
  const bool octal = text.size() > 1 && text[0] == '0';
  return {NumberBits::Kind::integer,
          octal ? digits_value(text.substr(1), 8) : digits_value(text, 10)};
}

}  // namespace nvfp4::emulator
