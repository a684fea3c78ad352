// SPDX-License-Identifier: Apache-2.0
// Declarations of variables and parameters.
#include "runtime/emulator/variable_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "runtime/emulator/machine.h"

namespace nvfp4::emulator {
namespace {

constexpr size_t kMaxAlignment = 4096;
constexpr size_t kMaxBytes = size_t{1} << 32;

void parse_initialiser(PtxLexer& lexer, Variable& variable, size_t element_bytes) {
  variable.initial.resize(variable.bytes);
  size_t at = 0;
  const auto element = [&] {
    const bool negative = lexer.take("-");
    const Token token = lexer.next();
    const NumberBits number = parse_number(token);
    if (number.kind == NumberBits::Kind::real && element_bytes != 8) {
      throw PtxError(token.line,
                     fmt::format("'{}' does not fit {} bytes", token.text, element_bytes));
    }
    const uint64_t bits = negative ? -number.bits : number.bits;
    if (at + element_bytes > variable.bytes)
      throw PtxError(token.line, "initialiser is longer than its variable");
    std::memcpy(variable.initial.data() + at, &bits, element_bytes);
    at += element_bytes;
  };
  if (!lexer.take("{")) return element();
  int depth = 1;
  while (depth > 0) {
    if (lexer.take("{")) {
      ++depth;
    } else if (lexer.take("}")) {
      --depth;
    } else if (!lexer.take(",")) {
      element();
    }
  }
}

}  // namespace

// After the state space: [.align n] [.ptr ...] .type name[n] [= initialiser]
Variable parse_variable(PtxLexer& lexer, StateSpace space, bool is_extern) {
  Variable variable;
  variable.space = space;
  std::optional<PtxType> type;
  size_t vector = 1;
  while (lexer.peek().kind == TokenKind::word && lexer.peek().text[0] == '.') {
    const Token word = lexer.next();
    if (word.text == ".align") {
      const Token number = lexer.next();
      const size_t alignment = parse_number(number).bits;
      if (!std::has_single_bit(alignment) || alignment > kMaxAlignment) {
        throw PtxError(number.line, fmt::format("alignment {} is not a power of two up to {}",
                                                alignment, kMaxAlignment));
      }
      if (!type) variable.alignment = alignment;  // after the type it describes a pointer's target
    } else if (word.text == ".v2" || word.text == ".v4") {
      vector = word.text == ".v2" ? 2 : 4;
    } else if (const auto found = find_ptx_type(word.text)) {
      type = found;
      variable.alignment = std::max(variable.alignment, found->bytes * vector);
    } else if (!(type && (word.text == ".ptr" || find_state_space(word.text)))) {
      throw PtxError(word.line, fmt::format("unknown attribute '{}' of a variable", word.text));
    }
  }
  const Token name = lexer.expect_word("a variable name");
  if (!type || type->bytes == 0)
    throw PtxError(name.line, fmt::format("variable '{}' has no type", name.text));
  variable.name = name.text;
  variable.line = name.line;
  variable.bytes = type->bytes * vector;
  while (lexer.take("[")) {
    if (lexer.take("]")) {
      variable.is_extern_array = is_extern;
      if (!is_extern) throw PtxError(name.line, fmt::format("array '{}' has no size", name.text));
      variable.bytes = 0;
      continue;
    }
    const size_t count = parse_number(lexer.next()).bits;
    if (variable.bytes != 0 && count > kMaxBytes / variable.bytes) {
      throw PtxError(name.line,
                     fmt::format("variable '{}' exceeds {} bytes", name.text, kMaxBytes));
    }
    variable.bytes *= count;
    lexer.expect("]");
  }
  if (is_extern && !(space == StateSpace::shared && variable.is_extern_array)) {
    throw PtxError(name.line, fmt::format("extern variable '{}' has no definition", name.text));
  }
  if (lexer.take("=")) parse_initialiser(lexer, variable, type->bytes);
  return variable;
}

}  // namespace nvfp4::emulator
