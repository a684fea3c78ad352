// SPDX-License-Identifier: Apache-2.0
// PTX text as tokens. A word keeps its dots and double colons ("ld.global.L1::no_allocate.v4.u32"
// is one token), because an opcode with its modifiers is looked up whole. Comments and the
// debugging directives .loc and .file vanish here.
#pragma once

#include <cstdint>
#include <string_view>

namespace nvfp4::emulator {

enum class TokenKind { word, number, string, punctuation, end };

struct Token {
  TokenKind kind = TokenKind::end;
  std::string_view text;  ///< into the source text
  int line = 1;
};

/// One token of look-ahead over PTX text.
class PtxLexer {
 public:
  explicit PtxLexer(std::string_view text);

  const Token& peek() const { return token_; }
  Token next();                              ///< takes the token; raises PtxError on a stray byte
  bool take(std::string_view text);          ///< takes the token if it reads so
  Token expect(std::string_view text);       ///< takes that very token or raises PtxError
  Token expect_word(std::string_view what);  ///< takes a word or raises PtxError naming `what`

 private:
  void advance();
  void skip_blank();
  void skip_line();
  Token scan() const;

  std::string_view text_;
  size_t position_ = 0;
  int line_ = 1;
  Token token_;
};

/// The bits of a number token: decimal, hexadecimal, octal or binary integers, 0f literals
/// (single), 0d literals and decimal fractions (real: the bits of a double).
struct NumberBits {
  enum class Kind { integer, single, real };
  Kind kind = Kind::integer;
  uint64_t bits = 0;
};
NumberBits parse_number(const Token& token);

}  // namespace nvfp4::emulator
