// SPDX-License-Identifier: Apache-2.0
// Most statements are looked up in the opcode table by their whole mnemonic. What has too many
// forms for a table is taken apart here: moves, branches, and in memory_decoder.cpp everything with
// a memory address.
#include "runtime/emulator/decoder.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/emulator/bulk_copies.h"
#include "runtime/emulator/control_flow.h"
#include "runtime/emulator/control_opcodes.h"
#include "runtime/emulator/memory_decoder.h"
#include "runtime/emulator/mnemonic.h"
#include "runtime/emulator/move_opcodes.h"
#include "runtime/emulator/opcode_table.h"
#include "runtime/emulator/operand_binder.h"
#include "runtime/emulator/register_allocation.h"
#include "runtime/emulator/wgmma_decoder.h"

namespace nvfp4::emulator {
namespace {

// Registers a thread of a launch. A kernel that moves registers between its warps (setmaxnreg) is
// compiled to all that its launch bounds allow: 64 Ki an SM, at most 255 a thread, in eights.
int launch_registers(const Kernel& kernel) {
  constexpr int kPerSm = 65536;
  int bound = 255;
  if (kernel.max_registers > 0) {
    bound = kernel.max_registers;
  } else if (kernel.bounds_threads) {
    bound = kPerSm / std::max(1, kernel.max_threads * kernel.min_ctas);
  }
  return std::min(bound, 255) / 8 * 8;
}

class KernelDecoder {
 public:
  KernelDecoder(const SyntaxTree& tree, const Kernel& kernel,
                const std::map<std::string_view, int>& variables)
      : kernel_(kernel), binder_(tree, kernel, variables, function_) {}

  Function decode() {
    function_.info.name = kernel_.name;
    function_.info.max_threads = kernel_.max_threads;
    function_.info.cluster = kernel_.cluster;
    function_.info.registers = launch_registers(kernel_);
    std::vector<int> first;  // instruction of each statement
    for (const Statement& statement : kernel_.statements) {
      first.push_back(static_cast<int>(function_.code.size()));
      decode(statement);
    }
    first.push_back(static_cast<int>(function_.code.size()));
    Instruction end;  // for labels and code that run off the end
    end.execute = &execute_exit;
    end.line = kernel_.statements.empty() ? kernel_.line : kernel_.statements.back().line;
    function_.code.push_back(end);
    resolve_branches(first);
    find_reconvergence(function_);
    allocate_registers(function_);
    return std::move(function_);
  }

 private:
  struct PendingBranch {
    int instruction;
    int scope;
    std::string_view label;
  };

  void decode(const Statement& statement);
  void decode_table_entry(const Statement& statement, const OpcodeEntry& entry,
                          Instruction& instruction);
  void decode_branch(const Statement& statement, Instruction& instruction);
  void resolve_branches(const std::vector<int>& first);
  template <class Map>
  typename Map::const_iterator find_in_scopes(const Map& map, int scope,
                                              std::string_view name) const;
  int statement_at(int scope, std::string_view label, int line) const;

  const Kernel& kernel_;
  Function function_;
  OperandBinder binder_;
  std::vector<PendingBranch> branches_;
};

void KernelDecoder::decode(const Statement& statement) {
  Instruction instruction;
  instruction.line = statement.line;
  if (statement.guard >= 0) {
    instruction.guard = binder_.register_slot(statement.guard);
    instruction.guard_negated = statement.guard_negated;
  }
  const Mnemonic mnemonic(statement.opcode);
  if (mnemonic.opcode() == "bra" || mnemonic.opcode() == "brx") {
    decode_branch(statement, instruction);
  } else if (mnemonic.opcode() == "mov" || mnemonic.opcode() == "cvta") {
    decode_move(statement, binder_, instruction);
  } else if (const OpcodeEntry* entry = opcode_table().find(statement.opcode)) {
    decode_table_entry(statement, *entry, instruction);
    if (statement.opcode == "griddepcontrol.wait") function_.info.waits_for_grid = true;
  } else if (!decode_wgmma(statement, binder_, function_, instruction) &&
             !decode_bulk_copy(statement, binder_, function_, instruction) &&
             !decode_memory(statement, binder_, function_, instruction)) {
    throw PtxError(statement.line, fmt::format("unknown instruction '{}'", statement.opcode));
  }
  function_.code.push_back(instruction);
}

// The arguments with vectors and d|p pairs written out.
void flatten(const std::vector<Argument>& arguments, std::vector<const Argument*>& flat) {
  for (const Argument& argument : arguments) {
    if (argument.kind == Argument::Kind::vector || argument.kind == Argument::Kind::pair) {
      flatten(argument.parts, flat);
    } else {
      flat.push_back(&argument);
    }
  }
}

void KernelDecoder::decode_table_entry(const Statement& statement, const OpcodeEntry& entry,
                                       Instruction& instruction) {
  instruction.execute = entry.execute;
  instruction.flags = entry.flags;
  std::vector<const Argument*> arguments;
  flatten(statement.arguments, arguments);
  size_t next = 0;
  bool is_destination = true;
  // A second predicate 'q' is written only if the first argument is a pair.
  const bool has_pair =
      !statement.arguments.empty() && statement.arguments[0].kind == Argument::Kind::pair;
  for (const char kind : entry.operands) {
    if (kind == '=') {
      instruction.destinations = instruction.operands;
      is_destination = false;
      continue;
    }
    Slot slot = kNoSlot;
    const bool absent = (kind == 'q' && !has_pair) || (kind == 'o' && next == arguments.size());
    if (!absent) {
      if (next == arguments.size()) {
        throw PtxError(statement.line, fmt::format("'{}' has too few operands", statement.opcode));
      }
      const Argument& argument = *arguments[next++];
      if (kind == 'a') {
        slot = binder_.bind_address(argument, statement.line, instruction.immediate);
      } else if (is_destination && argument.kind == Argument::Kind::none) {
        slot = kind == 'q' ? kNoSlot : binder_.new_register(kind == 'd' ? 64 : 32);
      } else if (is_destination && (argument.kind != Argument::Kind::reg || argument.negated)) {
        throw PtxError(statement.line,
                       fmt::format("a destination of '{}' is not a register", statement.opcode));
      } else {
        slot = binder_.bind(argument, kind, statement.line);
      }
    }
    instruction.operand[instruction.operands++] = slot;
  }
  if (next != arguments.size()) {
    throw PtxError(statement.line, fmt::format("'{}' has too many operands", statement.opcode));
  }
}

void KernelDecoder::decode_branch(const Statement& statement, Instruction& instruction) {
  const auto& arguments = statement.arguments;
  const bool is_table = statement.opcode == "brx.idx" || statement.opcode == "brx.idx.uni";
  if (!is_table && statement.opcode != "bra" && statement.opcode != "bra.uni") {
    throw PtxError(statement.line, fmt::format("unknown instruction '{}'", statement.opcode));
  }
  if (arguments.size() != (is_table ? 2 : 1) || arguments.back().kind != Argument::Kind::symbol) {
    throw PtxError(statement.line, fmt::format("'{}' does not name its target", statement.opcode));
  }
  instruction.execute = is_table ? &execute_branch_table : &execute_branch;
  if (is_table) {
    instruction.operand[0] = binder_.bind(arguments[0], 'w', statement.line);
    instruction.operands = 1;
  }
  branches_.push_back(
      {static_cast<int>(function_.code.size()), statement.scope, arguments.back().name});
}

// Labels are seen from their own scope and those inside it.
template <class Map>
typename Map::const_iterator KernelDecoder::find_in_scopes(const Map& map, int scope,
                                                           std::string_view name) const {
  for (; scope >= 0; scope = kernel_.scope_parents[scope]) {
    const auto found = map.find({scope, name});
    if (found != map.end()) return found;
  }
  return map.end();
}

int KernelDecoder::statement_at(int scope, std::string_view label, int line) const {
  const auto found = find_in_scopes(kernel_.labels, scope, label);
  if (found == kernel_.labels.end()) throw PtxError(line, fmt::format("unknown label '{}'", label));
  return found->second;
}

void KernelDecoder::resolve_branches(const std::vector<int>& first) {
  for (const PendingBranch& branch : branches_) {
    Instruction& instruction = function_.code[branch.instruction];
    if (instruction.execute == &execute_branch) {
      instruction.target = first[statement_at(branch.scope, branch.label, instruction.line)];
      continue;
    }
    const auto found = find_in_scopes(kernel_.branch_targets, branch.scope, branch.label);
    if (found == kernel_.branch_targets.end()) {
      throw PtxError(instruction.line, fmt::format("unknown branch table '{}'", branch.label));
    }
    std::vector<int32_t> targets;
    for (std::string_view label : found->second) {
      targets.push_back(first[statement_at(branch.scope, label, instruction.line)]);
    }
    instruction.immediate = static_cast<int64_t>(function_.branch_tables.size());
    function_.branch_tables.push_back(std::move(targets));
  }
}

}  // namespace

Module decode(const SyntaxTree& tree) {
  Module module;
  std::map<std::string_view, int> variables;
  for (const Variable& variable : tree.variables) {
    if (variable.space != StateSpace::global && variable.space != StateSpace::constant) continue;
    variables[variable.name] = static_cast<int>(module.variables.size());
    module.variables.push_back({std::string(variable.name), variable.bytes, variable.initial});
  }
  for (const Kernel& kernel : tree.kernels) {
    module.functions.push_back(KernelDecoder(tree, kernel, variables).decode());
  }
  return module;
}

}  // namespace nvfp4::emulator
