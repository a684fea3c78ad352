// SPDX-License-Identifier: Apache-2.0
// mov and cvta. Generic addresses carry their space in the top bits (memory_access.h), so cvta adds
// or removes that.
#include "runtime/emulator/move_opcodes.h"

#include <fmt/format.h>

#include "runtime/emulator/block.h"
#include "runtime/emulator/memory_access.h"
#include "runtime/emulator/mnemonic.h"
#include "runtime/emulator/opcode_table.h"

namespace nvfp4::emulator {
namespace {

template <class Cell>
void copy(Warp& warp, const Instruction& instruction) {
  const Cell* a = reinterpret_cast<Cell*>(warp.cells<Cell>(instruction.operand[1]));
  write_lanes(warp.mask(), warp.cells<Cell>(instruction.operand[0]),
              [a](int lane) { return a[lane]; });
}

// Operands: whole, then kParts parts of kBits each, the lowest first.
template <class Whole, int kParts>
constexpr int kPartBits = static_cast<int>(8 * sizeof(Whole) / kParts);

template <class Whole, int kParts>
void pack(Warp& warp, const Instruction& instruction) {
  constexpr int kBits = kPartBits<Whole, kParts>;
  constexpr Whole kMask = (Whole{1} << kBits) - 1;
  const uint32_t* part[kParts];
  for (int i = 0; i < kParts; ++i) part[i] = warp.cells<uint32_t>(instruction.operand[1 + i]);
  write_lanes(warp.mask(), warp.cells<Whole>(instruction.operand[0]), [&](int lane) {
    LaneCell<Whole> whole = 0;
    for (int i = 0; i < kParts; ++i)
      whole |= (LaneCell<Whole>{part[i][lane]} & kMask) << (kBits * i);
    return whole;
  });
}

// Operands: kParts destinations or none, then the whole.
template <class Whole, int kParts>
void unpack(Warp& warp, const Instruction& instruction) {
  constexpr int kBits = kPartBits<Whole, kParts>;
  constexpr Whole kMask = (Whole{1} << kBits) - 1;
  LaneCell<Whole> whole[kWarpLanes];  // a copy: a destination may be the same register
  std::copy_n(warp.cells<Whole>(instruction.operand[kParts]), kWarpLanes, whole);
  for (int i = 0; i < kParts; ++i) {
    if (instruction.operand[i] == kNoSlot) continue;
    write_lanes(warp.mask(), warp.cells<uint32_t>(instruction.operand[i]), [&](int lane) {
      return static_cast<uint32_t>(whole[lane] >> (kBits * i) & kMask);
    });
  }
}

void clock_low(Warp& warp, const Instruction& instruction) {
  const auto now = static_cast<uint32_t>(warp.block().clock());
  write_lanes(warp.mask(), warp.cells<uint32_t>(instruction.operand[0]),
              [now](int) { return now; });
}

void clock_wide(Warp& warp, const Instruction& instruction) {
  const uint64_t now = warp.block().clock();
  write_lanes(warp.mask(), warp.cells<uint64_t>(instruction.operand[0]),
              [now](int) { return now; });
}

[[noreturn]] void unknown(const Statement& statement) {
  throw PtxError(statement.line, fmt::format("unknown form of '{}'", statement.opcode));
}

int move_bits(std::string_view type) {
  if (type == "pred") return 1;
  if (type == "b16" || type == "u16" || type == "s16") return 16;
  if (type == "b32" || type == "u32" || type == "s32" || type == "f32") return 32;
  if (type == "b64" || type == "u64" || type == "s64" || type == "f64") return 64;
  return 0;
}

Handler pack_handler(int bits, size_t parts, bool packs) {
  if (bits == 32 && parts == 2) return packs ? &pack<uint32_t, 2> : &unpack<uint32_t, 2>;
  if (bits == 64 && parts == 2) return packs ? &pack<uint64_t, 2> : &unpack<uint64_t, 2>;
  if (bits == 64 && parts == 4) return packs ? &pack<uint64_t, 4> : &unpack<uint64_t, 4>;
  return nullptr;
}

char kind_of(int bits) { return bits == 1 ? 'p' : bits == 16 ? 'h' : bits == 64 ? 'd' : 'w'; }

void decode_vector_move(const Statement& statement, OperandBinder& binder, int bits,
                        Instruction& instruction) {
  const Argument& to = statement.arguments[0];
  const Argument& from = statement.arguments[1];
  const bool packs = from.kind == Argument::Kind::vector;
  const Argument& vector = packs ? from : to;
  const Argument& whole = packs ? to : from;
  instruction.execute = pack_handler(bits, vector.parts.size(), packs);
  if (instruction.execute == nullptr || whole.kind == Argument::Kind::vector) unknown(statement);
  const char part_kind = kind_of(bits / static_cast<int>(vector.parts.size()));
  const auto add = [&](Slot slot) { instruction.operand[instruction.operands++] = slot; };
  if (packs) add(binder.bind(whole, kind_of(bits), statement.line));
  for (const Argument& part : vector.parts) {
    const bool dropped = !packs && part.kind == Argument::Kind::none;
    add(dropped ? kNoSlot : binder.bind(part, part_kind, statement.line));
  }
  if (!packs) add(binder.bind(whole, kind_of(bits), statement.line));
  instruction.destinations = packs ? 1 : static_cast<uint8_t>(vector.parts.size());
}

void decode_mov(const Statement& statement, OperandBinder& binder, Instruction& instruction) {
  Mnemonic mnemonic(statement.opcode);
  const int bits = move_bits(mnemonic.take_any());
  const auto& arguments = statement.arguments;
  if (bits == 0 || !mnemonic.done() || arguments.size() != 2) unknown(statement);
  if (arguments[0].kind == Argument::Kind::vector || arguments[1].kind == Argument::Kind::vector) {
    return decode_vector_move(statement, binder, bits, instruction);
  }
  if (arguments[0].kind != Argument::Kind::reg || arguments[0].negated) unknown(statement);
  instruction.operand[0] = binder.bind(arguments[0], kind_of(bits), statement.line);
  instruction.operands = instruction.destinations = 1;
  const std::string_view name =
      arguments[1].kind == Argument::Kind::symbol ? arguments[1].name : "";
  if (name == "%clock" && bits == 32) {
    instruction.execute = &clock_low;
  } else if ((name == "%clock64" || name == "%globaltimer") && bits == 64) {
    instruction.execute = &clock_wide;
  } else {
    instruction.operand[1] = binder.bind(arguments[1], kind_of(bits), statement.line);
    instruction.operands = 2;
    instruction.execute = bits == 64 ? &copy<uint64_t> : &copy<uint32_t>;
  }
}

// cvta.to.SPACE.u64 d, a and cvta.SPACE.u64 d, a.
void decode_cvta(const Statement& statement, OperandBinder& binder, Instruction& instruction) {
  Mnemonic mnemonic(statement.opcode);
  const bool to_space = mnemonic.take("to");
  const std::string_view space = mnemonic.take_any();
  if (!mnemonic.take("u64") || !mnemonic.done() || statement.arguments.size() != 2)
    unknown(statement);
  uint64_t window = 0;
  if (space == "shared" || space == "shared::cta") {
    window = kSharedWindow;
  } else if (space == "local") {
    window = kLocalWindow;
  } else if (space == "param" || space == "param::entry") {
    window = kParameterWindow;
  } else if (space != "global" && space != "const") {
    unknown(statement);
  }
  instruction.execute = opcode_table().find(to_space ? "sub.u64" : "add.u64")->execute;
  instruction.operand[0] = binder.bind(statement.arguments[0], 'd', statement.line);
  instruction.operand[1] = binder.bind(statement.arguments[1], 'd', statement.line);
  instruction.operand[2] = binder.constant(window, 64);
  instruction.operands = 3;
  instruction.destinations = 1;
}

}  // namespace

void decode_move(const Statement& statement, OperandBinder& binder, Instruction& instruction) {
  if (Mnemonic(statement.opcode).opcode() == "mov") {
    decode_mov(statement, binder, instruction);
  } else {
    decode_cvta(statement, binder, instruction);
  }
}

}  // namespace nvfp4::emulator
