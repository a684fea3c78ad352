// SPDX-License-Identifier: Apache-2.0
// PTX as parsed, before any opcode is understood: names of registers are resolved to numbers
// (nested scopes of inline assembly included), everything else is still text. Views point into the
// source.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nvfp4::emulator {

/// Bits of a register: 1 (predicate), 16, 32 or 64.
struct RegisterDeclaration {
  int bits = 32;
};

struct Argument {
  enum class Kind {
    none,     ///< '_', a destination that is dropped
    reg,      ///< `reg`, maybe negated with '!'
    symbol,   ///< a variable, a label or a special register: `name`
    integer,  ///< `bits`
    single,   ///< `bits` of a float (0f...)
    real,     ///< `bits` of a double (0d... or a decimal fraction)
    address,  ///< [base + offset]: `parts[0]` is a register, symbol or integer; then coordinates
    vector,   ///< {a, b, ...}: `parts`
    pair,     ///< d|p: `parts`
  };
  Kind kind = Kind::none;
  std::string_view name;
  int reg = -1;
  bool negated = false;
  uint64_t bits = 0;
  int64_t offset = 0;
  std::vector<Argument> parts;
};

struct Statement {
  int line = 0;
  int scope = 0;
  int guard = -1;  ///< predicate register
  bool guard_negated = false;
  std::string_view opcode;  ///< with all modifiers
  std::vector<Argument> arguments;
};

enum class StateSpace { parameter, shared, local, global, constant };

struct Variable {
  StateSpace space = StateSpace::parameter;
  std::string_view name;
  int line = 0;
  size_t alignment = 1;
  size_t bytes = 0;
  bool is_extern_array = false;  ///< .extern .shared name[]: the dynamic shared memory
  std::vector<std::byte> initial;
};

struct Kernel {
  std::string_view name;
  int line = 0;
  int max_threads = 1024;
  bool bounds_threads = false;        ///< max_threads is from a directive
  int min_ctas = 1;                   ///< .minnctapersm
  int max_registers = 0;              ///< .maxnreg; 0: as many as the launch bounds leave
  std::array<unsigned, 3> cluster{};  ///< .reqnctapercluster
  std::vector<Variable> parameters;
  std::vector<Variable> variables;  ///< .shared and .local of its body
  std::vector<RegisterDeclaration> registers;
  std::vector<Statement> statements;
  std::vector<int> scope_parents;                          ///< -1 for the body itself
  std::map<std::pair<int, std::string_view>, int> labels;  ///< (scope, name) -> statement
  std::map<std::pair<int, std::string_view>, std::vector<std::string_view>> branch_targets;
};

struct SyntaxTree {
  std::vector<Variable> variables;  ///< of the module, extern shared arrays included
  std::vector<Kernel> kernels;
};

struct PtxType {
  size_t bytes;       ///< in memory
  int register_bits;  ///< 0: no register has this type
};
/// The type or space that a word such as ".u32" or ".shared" names.
std::optional<PtxType> find_ptx_type(std::string_view word);
std::optional<StateSpace> find_state_space(std::string_view word);

/// Raises PtxError.
SyntaxTree parse_ptx(std::string_view text);

}  // namespace nvfp4::emulator
