// SPDX-License-Identifier: Apache-2.0
// wgmma: m64nNk16 of bf16 or fp16 with FP32 accumulators, A from registers or shared memory,
// K-major operands. Everything else (other types, transposed or sparse operands) is refused with
// its line.
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <memory>

#include "runtime/emulator/cluster.h"
#include "runtime/emulator/half_float.h"
#include "runtime/emulator/mnemonic.h"
#include "runtime/emulator/opcode_table.h"
#include "runtime/emulator/wgmma_decoder.h"
#include "runtime/emulator/wgmma_multiply.h"
#include "runtime/emulator/wgmma_operand.h"

namespace nvfp4::emulator {
namespace {

// Operands of mma_async: A's registers (or its descriptor and three of nothing), B's descriptor,
// scale-d. The accumulators are the operand list; immediate is N, immediate2 the sign of A x B.
constexpr int kB = 4;
constexpr int kScaleD = 5;
constexpr int kMaxColumns = 256;

[[noreturn]] void misuse(Warp& warp, int lane, std::string text) {
  warp.fail(FaultKind::wgmma_misuse, lane, std::move(text));
}

void require_warp(Warp& warp) {
  if (warp.mask() == kAllLanes) return;
  misuse(warp, first_lane(~warp.mask()),
         fmt::format("a wgmma instruction runs without this thread (lanes here: {:#010x})",
                     warp.mask()));
}

uint64_t uniform_descriptor(Warp& warp, Slot slot) {
  const uint64_t* cell = warp.cells<uint64_t>(slot);
  for (int lane = 1; lane < kWarpLanes; ++lane) {
    if (cell[lane] != cell[0])
      misuse(warp, lane, "threads of a warp differ in a matrix descriptor");
  }
  return cell[0];
}

// Meets the other warps of the warpgroup; true for the last one, for whom the instruction runs.
bool gather(Warp& warp, const Instruction& instruction, const uint64_t (&descriptors)[2],
            bool accumulates) {
  Block& block = warp.block();
  if (warp.index() / Warpgroup::kWarps * Warpgroup::kWarps + Warpgroup::kWarps > block.warps())
    misuse(warp, 0, "a wgmma instruction in a warpgroup of fewer than four warps");
  Warpgroup& group = block.warpgroup(warp);
  if (group.arrived == 0) {
    group.instruction = &instruction;
    std::copy(std::begin(descriptors), std::end(descriptors), group.descriptors);
    group.accumulates = accumulates;
  } else if (group.instruction != &instruction) {
    misuse(warp, 0,
           fmt::format("other warps of this warpgroup are at the wgmma at PTX line {}",
                       group.instruction->line));
  } else if (!std::equal(std::begin(descriptors), std::end(descriptors), group.descriptors) ||
             group.accumulates != accumulates) {
    misuse(warp, 0, "warps of a warpgroup differ in a matrix descriptor or in scale-d");
  }
  if (++group.arrived < Warpgroup::kWarps) {
    warp.block_in(WarpState::at_wgmma);
    return false;
  }
  group.reset();
  return true;
}

// Fragments of A (PTX ISA, "Register Fragments"): lane 4g + t of register r holds row g + 8(r % 2)
// and k = 8(r / 2) + 2t + half.
template <class Format>
void rows_from_registers(Warp& warp, const Slot* slots, float sign, LaneRows& rows) {
  for (int r = 0; r < 4; ++r) {
    const uint32_t* cell = warp.cells<uint32_t>(slots[r]);
    for (int t = 0; t < 4; ++t) {
      float(&low)[32] = rows.value[r / 2 * 8 + 2 * t][r % 2];
      float(&high)[32] = rows.value[r / 2 * 8 + 2 * t + 1][r % 2];
      for (int lane = 0; lane < kWarpLanes; ++lane) {
        const uint32_t pair = cell[lane / 4 * 4 + t];
        low[lane] = sign * Format::widen(static_cast<uint16_t>(pair));
        high[lane] = sign * Format::widen(static_cast<uint16_t>(pair >> 16));
      }
    }
  }
}

template <class Format>
void rows_from_elements(const uint16_t* elements, float sign, LaneRows& rows) {
  for (int k = 0; k < 16; ++k) {
    for (int h = 0; h < 2; ++h) {
      for (int lane = 0; lane < kWarpLanes; ++lane)
        rows.value[k][h][lane] = sign * Format::widen(elements[(lane / 4 + 8 * h) * 16 + k]);
    }
  }
}

template <class Format>
void columns_from_elements(const uint16_t* elements, int tiles, LaneColumns& columns) {
  for (int j = 0; j < tiles; ++j) {
    for (int n = 0; n < 8; ++n) {
      const uint16_t* column = elements + (j * 8 + n) * 16;
      for (int k = 0; k < 16; ++k) columns.value[j][k][n % 2][n / 2] = Format::widen(column[k]);
    }
  }
}

template <class Format>
void multiply_warpgroup(Warp& last, const Instruction& instruction, bool a_in_registers,
                        const uint64_t (&descriptors)[2], bool accumulates) {
  const int columns = static_cast<int>(instruction.immediate);
  const auto sign = static_cast<float>(instruction.immediate2);
  const std::vector<Slot>& sums = last.function().operand_lists[instruction.list];
  std::array<uint16_t, 64 * 16> a_elements;
  std::array<uint16_t, kMaxColumns * 16> b_elements;
  static thread_local LaneRows a;
  static thread_local LaneColumns b;
  if (!a_in_registers) read_operand(last, descriptors[0], 64, a_elements.data());
  read_operand(last, descriptors[1], columns, b_elements.data());
  columns_from_elements<Format>(b_elements.data(), columns / 8, b);
  const int first = last.index() / Warpgroup::kWarps * Warpgroup::kWarps;
  for (int w = 0; w < Warpgroup::kWarps; ++w) {
    Warp& warp = last.block().warp(first + w);
    if (a_in_registers) {
      rows_from_registers<Format>(warp, instruction.operand.data(), sign, a);
    } else {
      rows_from_elements<Format>(a_elements.data() + w * 16 * 16, sign, a);
    }
    std::array<uint32_t*, kMaxColumns / 2> cells;
    for (size_t i = 0; i < sums.size(); ++i) cells[i] = warp.cells<uint32_t>(sums[i]);
    multiply_lanes(a, b, columns / 8, accumulates, cells.data());
    if (warp.state() == WarpState::at_wgmma) warp.wake();
  }
}

template <class Format, bool kAInRegisters>
void multiply_async(Warp& warp, const Instruction& instruction) {
  require_warp(warp);
  const std::vector<Slot>& sums = warp.function().operand_lists[instruction.list];
  const int needed = static_cast<int>(sums.size()) + (kAInRegisters ? 4 : 0);
  if (warp.registers != 0 && needed > warp.registers) {
    warp.fail(
        FaultKind::register_pool, 0,
        fmt::format("a wgmma of {} registers a thread, which has {}", needed, warp.registers));
  }
  const uint64_t descriptors[2] = {
      kAInRegisters ? 0 : uniform_descriptor(warp, instruction.operand[0]),
      uniform_descriptor(warp, instruction.operand[kB])};
  const uint32_t scale = warp.predicate_mask(instruction.operand[kScaleD]);
  if (scale != 0 && scale != kAllLanes)
    misuse(warp, first_lane(~scale), "threads of a warp differ in scale-d");
  warp.wgmma().use(warp, sums, instruction.operand.data(), kAInRegisters ? 4 : 0);
  if (!gather(warp, instruction, descriptors, scale != 0)) return;
  multiply_warpgroup<Format>(warp, instruction, kAInRegisters, descriptors, scale != 0);
  warp.block().cluster().progress();
}

void fence(Warp& warp, const Instruction&) {
  require_warp(warp);
  warp.wgmma().fence();
}

void commit_group(Warp& warp, const Instruction&) {
  require_warp(warp);
  warp.wgmma().commit(warp);
}

// Operands: the number of groups that may stay in flight, a constant.
void wait_group(Warp& warp, const Instruction& instruction) {
  require_warp(warp);
  warp.wgmma().wait(warp, warp.cells<uint32_t>(instruction.operand[0])[0]);
}

[[noreturn]] void unknown(const Statement& statement) {
  throw PtxError(statement.line, fmt::format("unknown form of '{}'", statement.opcode));
}

// The width of "m64n128k16".
int columns_of(std::string_view shape) {
  constexpr std::string_view kBefore = "m64n";
  constexpr std::string_view kAfter = "k16";
  if (!shape.starts_with(kBefore) || !shape.ends_with(kAfter)) return 0;
  shape.remove_prefix(kBefore.size());
  int columns = 0;
  const char* end = std::from_chars(shape.data(), shape.data() + shape.size(), columns).ptr;
  const bool whole = std::string_view(end, shape.data() + shape.size() - end) == kAfter;
  return whole && columns % 8 == 0 && columns <= kMaxColumns ? columns : 0;
}

int constant_of(const Statement& statement, const Argument& argument) {
  if (argument.kind != Argument::Kind::integer) unknown(statement);
  return static_cast<int>(argument.bits);
}

template <class Format>
Handler handler(bool a_in_registers) {
  return a_in_registers ? &multiply_async<Format, true> : &multiply_async<Format, false>;
}

}  // namespace

// wgmma.mma_async.sync.aligned.shape.f32.type.type d, a | a-desc, b-desc, scale-d, imm-scale-a,
// imm-scale-b{, imm-trans-a}, imm-trans-b
bool decode_wgmma(const Statement& statement, OperandBinder& binder, Function& function,
                  Instruction& instruction) {
  Mnemonic mnemonic(statement.opcode);
  if (mnemonic.opcode() != "wgmma" || !mnemonic.take("mma_async")) return false;
  const bool aligned = mnemonic.take("sync") && mnemonic.take("aligned");
  const int columns = columns_of(mnemonic.take_any());
  if (!aligned || columns == 0 || !mnemonic.take("f32")) unknown(statement);
  const std::string_view type = mnemonic.take_any();
  if ((type != "bf16" && type != "f16") || mnemonic.take_any() != type || !mnemonic.done())
    unknown(statement);
  const auto& arguments = statement.arguments;
  const bool in_registers = arguments.size() > 1 && arguments[1].kind == Argument::Kind::vector;
  if (arguments.size() != (in_registers ? 7 : 8) || arguments[0].kind != Argument::Kind::vector ||
      arguments[0].parts.size() != static_cast<size_t>(columns) / 2 ||
      (in_registers && arguments[1].parts.size() != 4)) {
    throw PtxError(statement.line,
                   fmt::format("operands that '{}' does not take", statement.opcode));
  }
  std::vector<Slot> sums;
  for (const Argument& part : arguments[0].parts) {
    if (part.kind != Argument::Kind::reg) unknown(statement);
    sums.push_back(binder.bind(part, 'w', statement.line));
  }
  instruction.list = static_cast<int32_t>(function.operand_lists.size());
  function.operand_lists.push_back(std::move(sums));
  instruction.operand.fill(kNoSlot);
  for (size_t i = 0; i < (in_registers ? 4u : 1u); ++i) {
    instruction.operand[i] = in_registers ? binder.bind(arguments[1].parts[i], 'w', statement.line)
                                          : binder.bind(arguments[1], 'd', statement.line);
  }
  instruction.operand[kB] = binder.bind(arguments[2], 'd', statement.line);
  instruction.operand[kScaleD] = binder.bind(arguments[3], 'p', statement.line);
  instruction.operands = kScaleD + 1;
  instruction.immediate = columns;
  const int scale_a = constant_of(statement, arguments[4]);
  const int scale_b = constant_of(statement, arguments[5]);
  if (scale_a * scale_a != 1 || scale_b * scale_b != 1) unknown(statement);
  instruction.immediate2 = scale_a * scale_b;
  for (size_t i = 6; i < arguments.size(); ++i) {
    if (constant_of(statement, arguments[i]) != 0)
      throw PtxError(statement.line, "a transposed operand of wgmma is not run");
  }
  instruction.execute = type == "bf16" ? handler<Bf16>(in_registers) : handler<Fp16>(in_registers);
  function.shared_cell = std::min<size_t>(function.shared_cell, 16);
  return true;
}

void add_wgmma_opcodes(OpcodeTable& table) {
  table.add("wgmma.fence.sync.aligned", {"=", &fence, 0});
  table.add("wgmma.commit_group.sync.aligned", {"=", &commit_group, 0});
  table.add("wgmma.wait_group.sync.aligned", {"=w", &wait_group, 0});
}

}  // namespace nvfp4::emulator
