// SPDX-License-Identifier: Apache-2.0
// Slots, constants and the layout of a kernel's variables.
#include "runtime/emulator/operand_binder.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "runtime/emulator/opcode_table.h"

namespace nvfp4::emulator {
namespace {

size_t align_up(size_t value, size_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

const std::map<std::string_view, Special>& special_registers() {
  // Never destroyed: modules may be loaded while the process exits.
  static const auto& names = *new std::map<std::string_view, Special>{
      {"%tid.x", Special::tid_x},
      {"%tid.y", Special::tid_y},
      {"%tid.z", Special::tid_z},
      {"%ntid.x", Special::ntid_x},
      {"%ntid.y", Special::ntid_y},
      {"%ntid.z", Special::ntid_z},
      {"%ctaid.x", Special::ctaid_x},
      {"%ctaid.y", Special::ctaid_y},
      {"%ctaid.z", Special::ctaid_z},
      {"%nctaid.x", Special::nctaid_x},
      {"%nctaid.y", Special::nctaid_y},
      {"%nctaid.z", Special::nctaid_z},
      {"%laneid", Special::laneid},
      {"%warpid", Special::warpid},
      {"%nwarpid", Special::nwarpid},
      {"%smid", Special::smid},
      {"%nsmid", Special::nsmid},
      {"%gridid", Special::gridid},
      {"%lanemask_eq", Special::lanemask_eq},
      {"%lanemask_lt", Special::lanemask_lt},
      {"%lanemask_le", Special::lanemask_le},
      {"%lanemask_gt", Special::lanemask_gt},
      {"%lanemask_ge", Special::lanemask_ge},
      {"%dynamic_smem_size", Special::dynamic_smem_size},
      {"%total_smem_size", Special::total_smem_size},
      {"%cluster_ctaid.x", Special::cluster_ctaid_x},
      {"%cluster_ctaid.y", Special::cluster_ctaid_y},
      {"%cluster_ctaid.z", Special::cluster_ctaid_z},
      {"%cluster_nctaid.x", Special::cluster_nctaid_x},
      {"%cluster_nctaid.y", Special::cluster_nctaid_y},
      {"%cluster_nctaid.z", Special::cluster_nctaid_z},
      {"%clusterid.x", Special::clusterid_x},
      {"%clusterid.y", Special::clusterid_y},
      {"%clusterid.z", Special::clusterid_z},
      {"%nclusterid.x", Special::nclusterid_x},
      {"%nclusterid.y", Special::nclusterid_y},
      {"%nclusterid.z", Special::nclusterid_z},
      {"%cluster_ctarank", Special::cluster_ctarank},
      {"%cluster_nctarank", Special::cluster_nctarank},
      {"%is_explicit_cluster", Special::is_explicit_cluster},
  };
  return names;
}

int kind_bits(char kind) {
  switch (kind) {
    case 'p':
    case 'q':
      return 1;
    case 'h':
    case 'H':
      return 16;
    case 'd':
      return 64;
    default:
      return 32;
  }
}

bool fits(char kind, int bits) {
  if (kind == 'n') return bits == 16 || bits == 32;
  if (kind == 'H' || kind == 'W') return bits >= kind_bits(kind);
  return bits == kind_bits(kind);
}

}  // namespace

OperandBinder::OperandBinder(const SyntaxTree& tree, const Kernel& kernel,
                             const std::map<std::string_view, int>& variables, Function& function)
    : kernel_(kernel), function_(function) {
  register_slots_.reserve(kernel.registers.size());
  for (const RegisterDeclaration& reg : kernel.registers)
    register_slots_.push_back(new_register(reg.bits));
  place_variables(tree, variables);
}

void OperandBinder::place_variables(const SyntaxTree& tree,
                                    const std::map<std::string_view, int>& variables) {
  size_t params = 0;
  for (const Variable& v : kernel_.parameters) {
    params = align_up(params, v.alignment);
    variables_[v.name] = {StateSpace::parameter, params};
    params += v.bytes;
  }
  size_t shared = 0;
  size_t local = 0;
  size_t dynamic_alignment = 16;
  std::vector<std::string_view> dynamic;
  const auto place = [&](const Variable& v) {
    if (v.is_extern_array) {
      dynamic.push_back(v.name);
      dynamic_alignment = std::max(dynamic_alignment, v.alignment);
      return;
    }
    size_t& end = v.space == StateSpace::shared ? shared : local;
    end = align_up(end, v.alignment);
    variables_[v.name] = {v.space, end};
    end += v.bytes;
  };
  for (const Variable& v : tree.variables) {
    if (v.space == StateSpace::shared) place(v);
  }
  for (const Variable& v : kernel_.variables) place(v);
  for (const auto& [name, number] : variables) {
    variables_[name] = {StateSpace::global, static_cast<uint64_t>(number)};
  }
  function_.info.param_bytes = static_cast<int>(params);
  function_.info.static_smem_bytes = static_cast<int>(shared);
  function_.local_bytes = align_up(local, 16);
  function_.dynamic_smem_offset = align_up(shared, dynamic_alignment);
  for (std::string_view name : dynamic)
    variables_[name] = {StateSpace::shared, function_.dynamic_smem_offset};
}

const OperandBinder::Place* OperandBinder::find_variable(std::string_view name) const {
  const auto found = variables_.find(name);
  return found == variables_.end() ? nullptr : &found->second;
}

Slot OperandBinder::new_register(int bits) {
  const auto slot = static_cast<Slot>(function_.register_bytes) | (bits == 64 ? kWideSlot : 0);
  function_.register_bytes += bits == 64 ? 8 * kWarpLanes : 4 * kWarpLanes;
  return slot;
}

Slot OperandBinder::constant(uint64_t bits, int width) {
  const auto [entry, is_new] = constants_.try_emplace({bits, width}, 0);
  if (!is_new) return entry->second;
  std::vector<uint32_t>& pool = function_.constants;
  entry->second =
      static_cast<Slot>(pool.size() * 4) | kConstantSlot | (width == 64 ? kWideSlot : 0);
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    pool.push_back(static_cast<uint32_t>(bits));
    if (width == 64) pool.push_back(static_cast<uint32_t>(bits >> 32));
  }
  return entry->second;
}

Slot OperandBinder::preload(Special special, int variable, int bits) {
  const auto [entry, is_new] = preloads_.try_emplace({special, variable}, 0);
  if (is_new) {
    entry->second = new_register(bits);
    function_.preloads.push_back({special, entry->second, variable});
  }
  return entry->second;
}

Slot OperandBinder::literal(const Argument& argument, char kind, int line) {
  const int bits = kind_bits(kind);
  uint64_t value = argument.bits;
  if (argument.kind == Argument::Kind::single && bits != 32) {
    throw PtxError(line, fmt::format("a 32-bit literal for a {}-bit operand", bits));
  }
  if (argument.kind == Argument::Kind::real) {
    if (bits < 32) throw PtxError(line, "a 64-bit literal for a 16-bit operand");
    if (bits == 32)
      value = std::bit_cast<uint32_t>(static_cast<float>(std::bit_cast<double>(value)));
  }
  if (bits == 1) value = value != 0 ? ~uint64_t{0} : 0;
  if (bits == 16) value &= 0xffff;
  if (bits < 64) value &= 0xffffffffu;
  return constant(value, bits == 64 ? 64 : 32);
}

Slot OperandBinder::symbol(const Argument& argument, char kind, int line) {
  const int bits = kind_bits(kind);
  if (argument.name == "WARP_SZ") return constant(kWarpLanes, bits);
  if (const auto found = special_registers().find(argument.name);
      found != special_registers().end()) {
    if (bits != (found->second == Special::is_explicit_cluster ? 1 : 32))
      throw PtxError(line,
                     fmt::format("special register '{}' as a {}-bit operand", argument.name, bits));
    return preload(found->second, 0, 32);
  }
  if (const Place* place = find_variable(argument.name)) {
    if (place->space == StateSpace::global || place->space == StateSpace::constant) {
      if (bits != 64)
        throw PtxError(line,
                       fmt::format("address of '{}' as a {}-bit operand", argument.name, bits));
      return preload(Special::variable, static_cast<int>(place->offset), 64);
    }
    return constant(place->offset, bits);
  }
  const char* what = argument.name[0] == '%' ? "unknown register" : "unknown name";
  throw PtxError(line, fmt::format("{} '{}'", what, argument.name));
}

Slot OperandBinder::compute(std::string_view mnemonic, Slot source, int bits, int line) {
  Instruction instruction;
  instruction.execute = opcode_table().find(mnemonic)->execute;
  instruction.operand[0] = new_register(bits);
  instruction.operand[1] = source;
  instruction.operands = 2;
  instruction.destinations = 1;
  instruction.line = line;
  function_.code.push_back(instruction);
  return instruction.operand[0];
}

Slot OperandBinder::bind(const Argument& argument, char kind, int line) {
  switch (argument.kind) {
    case Argument::Kind::reg: {
      if (!fits(kind, register_bits(argument.reg))) {
        throw PtxError(line,
                       fmt::format("register '{}' of {} bits for a {}-bit operand", argument.name,
                                   register_bits(argument.reg), kind_bits(kind)));
      }
      const Slot slot = register_slot(argument.reg);
      const bool narrowed = register_bits(argument.reg) == 64 && kind != 'd';
      if (narrowed) return compute("cvt.u32.u64", slot, 32, line);
      if (!argument.negated) return slot;
      if (kind != 'p')
        throw PtxError(line,
                       fmt::format("'!' before '{}', which is not a predicate", argument.name));
      return compute("not.pred", slot, 1, line);
    }
    case Argument::Kind::integer:
    case Argument::Kind::single:
    case Argument::Kind::real:
      return literal(argument, kind, line);
    case Argument::Kind::symbol:
      return symbol(argument, kind, line);
    default:
      throw PtxError(line, "an operand of a kind that the instruction does not take");
  }
}

Slot OperandBinder::bind_address(const Argument& argument, int line, int64_t& offset) {
  if (argument.kind != Argument::Kind::address)
    throw PtxError(line, "an operand that is not an address");
  const Argument& base = argument.parts[0];
  offset = argument.offset;
  if (base.kind == Argument::Kind::reg) {
    const int bits = register_bits(base.reg);
    if (bits != 32 && bits != 64) throw PtxError(line, fmt::format("an address of {} bits", bits));
    return register_slot(base.reg);
  }
  return bind(base, 'd', line);
}

}  // namespace nvfp4::emulator
