// SPDX-License-Identifier: Apache-2.0
// Assembles the table of opcode_table.h from its parts.
#include "runtime/emulator/opcode_table.h"

#include <cassert>

namespace nvfp4::emulator {

void OpcodeTable::add(std::string_view names, const OpcodeEntry& entry) {
  while (!names.empty()) {
    const size_t length = names.find(' ');
    const bool is_new = entries_.emplace(std::string(names.substr(0, length)), entry).second;
    assert(is_new && "a mnemonic is listed twice");
    (void)is_new;
    names.remove_prefix(length == names.npos ? names.size() : length + 1);
  }
}

const OpcodeEntry* OpcodeTable::find(std::string_view mnemonic) const {
  const auto found = entries_.find(std::string(mnemonic));
  return found == entries_.end() ? nullptr : &found->second;
}

// Never destroyed: kernels may run while the process exits.
const OpcodeTable& opcode_table() {
  static const OpcodeTable& table = *new OpcodeTable([] {
    OpcodeTable built;
    add_integer_opcodes(built);
    add_bit_opcodes(built);
    add_compare_opcodes(built);
    add_float_opcodes(built);
    add_half_opcodes(built);
    add_convert_opcodes(built);
    add_warp_opcodes(built);
    add_matrix_opcodes(built);
    add_control_opcodes(built);
    add_async_copy_opcodes(built);
    add_bulk_copy_opcodes(built);
    add_mbarrier_opcodes(built);
    add_cluster_opcodes(built);
    add_wgmma_opcodes(built);
    return built;
  }());
  return table;
}

}  // namespace nvfp4::emulator
