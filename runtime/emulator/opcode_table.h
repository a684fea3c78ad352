// SPDX-License-Identifier: Apache-2.0
// The instructions that compute lane by lane, as data: a mnemonic with all its modifiers, the kinds
// of its operands, and the function that executes it. A mnemonic that is not listed does not run;
// that is the whole rule for unknown modifiers. An entry is a C++ function of one lane's values:
// its signature gives the operand kinds, and the loop over lanes is generated around it.
//
//   table.add<[](uint32_t a, uint32_t b) { return a + b; }>("add.u32 add.s32");
#pragma once

#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "runtime/emulator/lane_value.h"
#include "runtime/emulator/program.h"
#include "runtime/emulator/warp.h"

namespace nvfp4::emulator {

/// Operand kinds, destinations before '=': p predicate, q predicate that may be left out, h 16-bit,
/// w 32-bit, d 64-bit, n 8-bit value in a 16- or 32-bit register, o 32-bit source that may be left
/// out, a address, H and W 16 and 32 bits of a register that may be wider. Vectors in braces are
/// written out: four registers are "wwww".
struct OpcodeEntry {
  std::string operands;
  Handler execute = nullptr;
  uint8_t flags = 0;  ///< copied to the instruction
};

template <class T>
constexpr char operand_kind() {
  if constexpr (std::is_same_v<T, bool>) return 'p';
  return sizeof(T) == 1 ? 'n' : sizeof(T) == 2 ? 'h' : sizeof(T) == 4 ? 'w' : 'd';
}

template <class Function>
struct LaneSignature;
template <class Lambda, class Result, class... Arguments>
struct LaneSignature<Result (Lambda::*)(Arguments...) const> {
  static std::string operands() {
    return {operand_kind<Result>(), '=', operand_kind<Arguments>()...};
  }

  template <auto kCompute, size_t... kIndex>
  static void execute(Warp& warp, const Instruction& instruction, std::index_sequence<kIndex...>) {
    LaneCell<Result>* destination = warp.cells<Result>(instruction.operand[0]);
    const std::tuple sources{static_cast<const LaneCell<Arguments>*>(
        warp.cells<Arguments>(instruction.operand[kIndex + 1]))...};
    write_lanes(warp.mask(), destination, [&](int lane) {
      return to_cell<Result>(kCompute(from_cell<Arguments>(std::get<kIndex>(sources)[lane])...));
    });
  }
  static constexpr auto kIndices = std::index_sequence_for<Arguments...>{};
};

template <auto kCompute>
void execute_lanes(Warp& warp, const Instruction& instruction) {
  using Signature = LaneSignature<decltype(&decltype(kCompute)::operator())>;
  Signature::template execute<kCompute>(warp, instruction, Signature::kIndices);
}

class OpcodeTable {
 public:
  /// `names`: mnemonics separated by blanks.
  template <auto kCompute>
  void add(std::string_view names) {
    using Signature = LaneSignature<decltype(&decltype(kCompute)::operator())>;
    add(names, {Signature::operands(), &execute_lanes<kCompute>, 0});
  }
  void add(std::string_view names, const OpcodeEntry& entry);

  const OpcodeEntry* find(std::string_view mnemonic) const;  ///< null when unknown

 private:
  std::unordered_map<std::string, OpcodeEntry> entries_;
};

/// The one table, built on first use.
const OpcodeTable& opcode_table();

// The parts of the table.
void add_integer_opcodes(OpcodeTable& table);
void add_bit_opcodes(OpcodeTable& table);
void add_compare_opcodes(OpcodeTable& table);
void add_float_opcodes(OpcodeTable& table);
void add_half_opcodes(OpcodeTable& table);
void add_convert_opcodes(OpcodeTable& table);
void add_warp_opcodes(OpcodeTable& table);
void add_matrix_opcodes(OpcodeTable& table);
void add_control_opcodes(OpcodeTable& table);
void add_async_copy_opcodes(OpcodeTable& table);
void add_bulk_copy_opcodes(OpcodeTable& table);
void add_mbarrier_opcodes(OpcodeTable& table);
void add_cluster_opcodes(OpcodeTable& table);
void add_wgmma_opcodes(OpcodeTable& table);

}  // namespace nvfp4::emulator
