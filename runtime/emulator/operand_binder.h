// SPDX-License-Identifier: Apache-2.0
// Gives operands their slots while a kernel is decoded: registers, literals (kept once each in the
// constant pool), special registers and addresses of variables.
#pragma once

#include <map>
#include <string_view>
#include <utility>

#include "runtime/emulator/program.h"
#include "runtime/emulator/ptx_syntax.h"

namespace nvfp4::emulator {

class OperandBinder {
 public:
  /// `variables`: number in Module::variables of each module variable by name.
  OperandBinder(const SyntaxTree& tree, const Kernel& kernel,
                const std::map<std::string_view, int>& variables, Function& function);

  /// Slot of `argument` as an operand of `kind` (opcode_table.h); checks widths. Appends to `code`
  /// where a value must be computed first (a negated predicate, the low bits of a wider register).
  Slot bind(const Argument& argument, char kind, int line);

  /// Base slot of an address; its constant part goes to `offset`.
  Slot bind_address(const Argument& argument, int line, int64_t& offset);

  Slot register_slot(int reg) const { return register_slots_[reg]; }
  int register_bits(int reg) const { return kernel_.registers[reg].bits; }
  Slot constant(uint64_t bits, int width);
  Slot new_register(int bits);

  struct Place {
    StateSpace space;
    uint64_t offset;  ///< within its space; the variable's number for module variables
  };
  const Place* find_variable(std::string_view name) const;

 private:
  void place_variables(const SyntaxTree& tree, const std::map<std::string_view, int>& variables);
  Slot literal(const Argument& argument, char kind, int line);
  Slot symbol(const Argument& argument, char kind, int line);
  /// Appends an instruction of one source; its result is `bits` wide.
  Slot compute(std::string_view mnemonic, Slot source, int bits, int line);
  Slot preload(Special special, int variable, int bits);

  const Kernel& kernel_;
  Function& function_;
  std::vector<Slot> register_slots_;
  std::map<std::pair<uint64_t, int>, Slot> constants_;
  std::map<std::pair<Special, int>, Slot> preloads_;
  std::map<std::string_view, Place> variables_;
};

}  // namespace nvfp4::emulator
