// SPDX-License-Identifier: Apache-2.0
// Recursive descent over the PTX that compilers write: module directives, variables with
// initialisers, and kernels whose bodies are declarations, labels and statements in nested scopes.
// Functions other than kernels may be declared but not defined: a call has nothing to run.
#include <fmt/format.h>

#include <cstring>
#include <optional>

#include "runtime/emulator/machine.h"
#include "runtime/emulator/ptx_lexer.h"
#include "runtime/emulator/ptx_syntax.h"
#include "runtime/emulator/register_scopes.h"
#include "runtime/emulator/variable_parser.h"

namespace nvfp4::emulator {
namespace {

constexpr uint64_t kMaxRegisters = 1 << 20;  // of one declaration

class Parser {
 public:
  explicit Parser(std::string_view text) : lexer_(text) {}

  SyntaxTree parse() {
    while (lexer_.peek().kind != TokenKind::end) module_item();
    return std::move(tree_);
  }

 private:
  void module_item();
  void version_and_target(const Token& word);
  void skip_section();
  void skip_function();
  void kernel();
  int dimensions_product();
  void body(Kernel& kernel);
  void scope_items(Kernel& kernel);
  void registers(Kernel& kernel);
  void statement(Kernel& kernel);
  void branch_targets(Kernel& kernel, std::string_view label);
  Argument argument();
  Argument primary();
  Argument address();
  int64_t signed_integer();

  PtxLexer lexer_;
  SyntaxTree tree_;
  RegisterScopes scopes_;
};

void Parser::version_and_target(const Token& word) {
  if (word.text == ".version") {
    const Token number = lexer_.next();
    const double version = std::strtod(std::string(number.text).c_str(), nullptr);
    if (version < 6.0 || version >= 10.0) {
      throw PtxError(number.line, fmt::format("PTX ISA {} is outside 6.0 .. 9.x", number.text));
    }
  } else if (word.text == ".target") {
    do lexer_.expect_word("a target");
    while (lexer_.take(","));
  } else {
    const Token size = lexer_.next();
    if (size.text != "64")
      throw PtxError(size.line, fmt::format("address size {} is not 64", size.text));
  }
}

void Parser::skip_section() {
  lexer_.expect_word("a section name");
  const Token open = lexer_.expect("{");
  while (!lexer_.take("}")) {
    if (lexer_.next().kind == TokenKind::end) throw PtxError(open.line, "section without end");
  }
}

void Parser::module_item() {
  if (lexer_.take(";")) return;
  bool is_extern = false;
  for (;;) {
    const Token word = lexer_.expect_word("a directive");
    if (word.text == ".visible" || word.text == ".weak" || word.text == ".common") continue;
    if (word.text == ".extern") {
      is_extern = true;
    } else if (word.text == ".version" || word.text == ".target" || word.text == ".address_size") {
      return version_and_target(word);
    } else if (word.text == ".section") {
      return skip_section();
    } else if (word.text == ".entry") {
      return kernel();
    } else if (word.text == ".func") {
      return skip_function();
    } else if (const auto space = find_state_space(word.text)) {
      tree_.variables.push_back(parse_variable(lexer_, *space, is_extern));
      lexer_.expect(";");
      return;
    } else {
      throw PtxError(word.line, fmt::format("unknown directive '{}'", word.text));
    }
  }
}

// A prototype is harmless (a call of it fails at the call); a body is not understood.
void Parser::skip_function() {
  for (;;) {
    const Token token = lexer_.next();
    if (token.text == ";") return;
    if (token.text == "{" || token.kind == TokenKind::end) {
      throw PtxError(token.line, "functions other than kernels are not supported");
    }
  }
}

int Parser::dimensions_product() {
  int product = 1;
  do product *= static_cast<int>(parse_number(lexer_.next()).bits);
  while (lexer_.take(","));
  return product;
}

void Parser::kernel() {
  Kernel kernel;
  const Token name = lexer_.expect_word("a kernel name");
  kernel.name = name.text;
  kernel.line = name.line;
  if (lexer_.take("(")) {
    while (!lexer_.take(")")) {
      lexer_.expect(".param");
      kernel.parameters.push_back(parse_variable(lexer_, StateSpace::parameter, false));
      lexer_.take(",");
    }
  }
  while (lexer_.peek().text != "{") {
    const Token word = lexer_.expect_word("a kernel directive");
    if (word.text == ".maxntid" || word.text == ".reqntid") {
      kernel.max_threads = dimensions_product();
      kernel.bounds_threads = true;
    } else if (word.text == ".minnctapersm") {
      kernel.min_ctas = static_cast<int>(parse_number(lexer_.next()).bits);
    } else if (word.text == ".maxnreg") {
      kernel.max_registers = static_cast<int>(parse_number(lexer_.next()).bits);
    } else if (word.text == ".reqnctapercluster") {
      kernel.cluster = {1, 1, 1};
      for (unsigned& extent : kernel.cluster) {
        extent = static_cast<unsigned>(parse_number(lexer_.next()).bits);
        if (!lexer_.take(",")) break;
      }
    } else if (word.text == ".maxnctapersm" || word.text == ".maxclusterrank") {
      lexer_.next();
    } else if (word.text == ".explicitcluster") {
    } else if (word.text == ".pragma") {
      lexer_.next();
      lexer_.take(";");
    } else {
      throw PtxError(word.line, fmt::format("unknown directive '{}'", word.text));
    }
  }
  body(kernel);
  tree_.kernels.push_back(std::move(kernel));
}

void Parser::body(Kernel& kernel) {
  lexer_.expect("{");
  kernel.scope_parents.push_back(-1);
  scopes_ = {};
  scopes_.open(0);
  scope_items(kernel);
}

void Parser::scope_items(Kernel& kernel) {
  const int scope = scopes_.innermost();
  for (;;) {
    const Token token = lexer_.peek();
    if (token.kind == TokenKind::end) throw PtxError(token.line, "body without end");
    if (lexer_.take("}")) return;
    if (lexer_.take(";")) continue;
    if (lexer_.take("{")) {
      const int number = static_cast<int>(kernel.scope_parents.size());
      kernel.scope_parents.push_back(scope);
      scopes_.open(number);
      scope_items(kernel);
      scopes_.close();
    } else if (lexer_.take(".reg")) {
      registers(kernel);
    } else if (lexer_.take(".pragma")) {
      lexer_.next();
      lexer_.expect(";");
    } else if (const auto space = find_state_space(token.text)) {
      lexer_.next();
      if (*space == StateSpace::parameter) throw PtxError(token.line, "calls are not supported");
      (*space == StateSpace::global || *space == StateSpace::constant ? tree_.variables
                                                                      : kernel.variables)
          .push_back(parse_variable(lexer_, *space, false));
      lexer_.expect(";");
    } else {
      statement(kernel);
    }
  }
}

// After .reg: .type a, b<4>, c;
void Parser::registers(Kernel& kernel) {
  const Token type_word = lexer_.expect_word("a register type");
  const auto type = find_ptx_type(type_word.text);
  if (!type || type->register_bits == 0) {
    throw PtxError(type_word.line, fmt::format("unknown register type '{}'", type_word.text));
  }
  do {
    const Token name = lexer_.expect_word("a register name");
    const int first = static_cast<int>(kernel.registers.size());
    uint64_t count = 1;
    if (lexer_.take("<")) {
      const Token number = lexer_.next();
      count = parse_number(number).bits;
      if (count > kMaxRegisters) {
        throw PtxError(number.line, fmt::format("{} registers exceed {}", count, kMaxRegisters));
      }
      lexer_.expect(">");
      scopes_.declare_range(name.text, first, static_cast<int>(count));
    } else {
      scopes_.declare(name.text, first);
    }
    kernel.registers.resize(first + count, RegisterDeclaration{type->register_bits});
  } while (lexer_.take(","));
  lexer_.expect(";");
}

void Parser::statement(Kernel& kernel) {
  Statement statement;
  statement.scope = scopes_.innermost();
  statement.line = lexer_.peek().line;
  if (lexer_.take("@")) {
    statement.guard_negated = lexer_.take("!");
    const Token name = lexer_.expect_word("a predicate");
    statement.guard = scopes_.find(name.text);
    if (statement.guard < 0 || kernel.registers[statement.guard].bits != 1) {
      throw PtxError(name.line, fmt::format("'{}' is not a predicate", name.text));
    }
  }
  const Token word = lexer_.expect_word("an instruction");
  if (statement.guard < 0 && lexer_.take(":")) {
    if (lexer_.peek().text == ".branchtargets") return branch_targets(kernel, word.text);
    const auto key = std::pair(statement.scope, word.text);
    if (!kernel.labels.emplace(key, static_cast<int>(kernel.statements.size())).second) {
      throw PtxError(word.line, fmt::format("label '{}' is defined twice", word.text));
    }
    return;
  }
  if (word.text[0] == '.')
    throw PtxError(word.line, fmt::format("unknown directive '{}'", word.text));
  statement.opcode = word.text;
  while (!lexer_.take(";")) {
    statement.arguments.push_back(argument());
    if (lexer_.peek().text != ";") lexer_.expect(",");
  }
  kernel.statements.push_back(std::move(statement));
}

void Parser::branch_targets(Kernel& kernel, std::string_view label) {
  lexer_.next();
  auto& targets = kernel.branch_targets[{scopes_.innermost(), label}];
  do targets.push_back(lexer_.expect_word("a label").text);
  while (lexer_.take(","));
  lexer_.expect(";");
}

Argument Parser::argument() {
  Argument first = primary();
  if (!lexer_.take("|")) return first;
  Argument pair;
  pair.kind = Argument::Kind::pair;
  pair.parts.push_back(std::move(first));
  pair.parts.push_back(primary());
  return pair;
}

int64_t Parser::signed_integer() {
  const bool negative = lexer_.take("-");
  const Token token = lexer_.next();
  const NumberBits number = parse_number(token);
  if (number.kind != NumberBits::Kind::integer)
    throw PtxError(token.line, "an address offset is an integer");
  return static_cast<int64_t>(negative ? -number.bits : number.bits);
}

Argument Parser::address() {
  Argument address;
  address.kind = Argument::Kind::address;
  address.parts.push_back(primary());
  if (lexer_.take("+")) {
    address.offset = signed_integer();
  } else if (lexer_.peek().text == "-") {
    address.offset = signed_integer();
  }
  if (lexer_.take(",")) {  // coordinates in a tensor
    Argument coordinates = primary();
    for (Argument& part : coordinates.parts) address.parts.push_back(std::move(part));
  }
  lexer_.expect("]");
  return address;
}

Argument Parser::primary() {
  Argument result;
  if (lexer_.take("[")) return address();
  if (lexer_.take("{")) {
    result.kind = Argument::Kind::vector;
    do result.parts.push_back(primary());
    while (lexer_.take(","));
    lexer_.expect("}");
    return result;
  }
  result.negated = lexer_.take("!");
  const bool negative = lexer_.take("-");
  const Token token = lexer_.next();
  if (token.kind == TokenKind::number) {
    const NumberBits number = parse_number(token);
    switch (number.kind) {
      case NumberBits::Kind::integer:
        result.kind = Argument::Kind::integer;
        result.bits = negative ? -number.bits : number.bits;
        break;
      case NumberBits::Kind::single:
        result.kind = Argument::Kind::single;
        result.bits = number.bits ^ (uint64_t{negative} << 31);
        break;
      case NumberBits::Kind::real:
        result.kind = Argument::Kind::real;
        result.bits = number.bits ^ (uint64_t{negative} << 63);
        break;
    }
    return result;
  }
  if (token.kind != TokenKind::word || negative) {
    throw PtxError(token.line, fmt::format("unexpected '{}'", token.text));
  }
  if (token.text == "_") return result;
  result.name = token.text;
  result.reg = scopes_.find(token.text);
  result.kind = result.reg >= 0 ? Argument::Kind::reg : Argument::Kind::symbol;
  return result;
}

}  // namespace

SyntaxTree parse_ptx(std::string_view text) { return Parser(text).parse(); }

}  // namespace nvfp4::emulator
