// SPDX-License-Identifier: Apache-2.0
// Takes the modifiers of memory instructions apart. Those that only advise caches are recognised
// and dropped; an order or scope is always given in full strength.
#include "runtime/emulator/memory_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "runtime/emulator/memory_access.h"
#include "runtime/emulator/mnemonic.h"

namespace nvfp4::emulator {
namespace {

constexpr std::string_view kOrders[] = {"weak",    "volatile", "relaxed",
                                        "acquire", "release",  "acq_rel"};
constexpr std::string_view kScopes[] = {"cta", "cluster", "gpu", "sys"};
constexpr std::string_view kCacheHints[] = {"ca",
                                            "cg",
                                            "cs",
                                            "lu",
                                            "cv",
                                            "wb",
                                            "wt",
                                            "nc",
                                            "L1::evict_normal",
                                            "L1::evict_unchanged",
                                            "L1::evict_first",
                                            "L1::evict_last",
                                            "L1::no_allocate",
                                            "L2::evict_normal",
                                            "L2::evict_first",
                                            "L2::evict_last",
                                            "L2::64B",
                                            "L2::128B",
                                            "L2::256B"};

struct ElementType {
  size_t bytes;
  bool is_signed;
};

std::optional<ElementType> element_type(std::string_view type) {
  if (type.size() < 2) return std::nullopt;
  const char kind = type[0];
  if (kind != 'b' && kind != 'u' && kind != 's' && kind != 'f') return std::nullopt;
  const std::string_view width = type.substr(1);
  const bool is_signed = kind == 's';
  if (width == "8" && kind != 'f') return ElementType{1, is_signed};
  if (width == "16" && kind != 'f') return ElementType{2, is_signed};
  if (width == "32") return ElementType{4, is_signed};
  if (width == "64") return ElementType{8, is_signed};
  return std::nullopt;
}

[[noreturn]] void unknown(const Statement& statement) {
  throw PtxError(statement.line, fmt::format("unknown form of '{}'", statement.opcode));
}

[[noreturn]] void wrong_operands(const Statement& statement) {
  throw PtxError(statement.line, fmt::format("operands that '{}' does not take", statement.opcode));
}

// The state space; constants live in global memory.
Space take_space(Mnemonic& mnemonic) {
  if (mnemonic.take("global") || mnemonic.take("const")) return Space::global;
  if (mnemonic.take("shared") || mnemonic.take("shared::cta")) return Space::shared;
  if (mnemonic.take("shared::cluster")) return Space::cluster;
  if (mnemonic.take("local")) return Space::local;
  if (mnemonic.take("param") || mnemonic.take("param::entry")) return Space::parameter;
  return Space::generic;
}

// True when a cache policy follows as the last operand.
bool take_hints(Mnemonic& mnemonic) {
  while (!mnemonic.take_one_of(kCacheHints).empty()) {
  }
  const bool policy = mnemonic.take("L2::cache_hint");
  while (!mnemonic.take_one_of(kCacheHints).empty()) {
  }
  return policy;
}

class MemoryDecoder {
 public:
  MemoryDecoder(const Statement& statement, OperandBinder& binder, Function& function,
                Instruction& instruction)
      : statement_(statement),
        binder_(binder),
        function_(function),
        instruction_(instruction),
        mnemonic_(statement.opcode) {}

  bool decode() {
    const std::string_view opcode = mnemonic_.opcode();
    if (opcode == "ld" || opcode == "st") {
      load_or_store(opcode == "ld");
    } else if (opcode == "atom" || opcode == "red") {
      atomic(opcode == "atom");
    } else if (opcode == "cp" && mnemonic_.take("async")) {
      async_copy();
    } else if (opcode == "prefetch" || opcode == "prefetchu") {
      prefetch();
    } else {
      return false;
    }
    return true;
  }

 private:
  void add(Slot slot) { instruction_.operand[instruction_.operands++] = slot; }

  void add_address(const Argument& argument, int64_t& offset) {
    add(binder_.bind_address(argument, statement_.line, offset));
  }

  void touches(Space space, size_t bytes) {
    if (space == Space::shared || space == Space::cluster || space == Space::generic) {
      function_.shared_cell = std::min(function_.shared_cell, bytes);
    }
  }

  void load_or_store(bool is_load);
  bool bind_values(const Argument& values, bool is_load, size_t element_bytes);
  void atomic(bool returns);
  void async_copy();
  void prefetch();

  const Statement& statement_;
  OperandBinder& binder_;
  Function& function_;
  Instruction& instruction_;
  Mnemonic mnemonic_;
};

// The registers of a load or store; true when their cells are wide. They may be wider than the
// memory type, and all have the same width.
bool MemoryDecoder::bind_values(const Argument& values, bool is_load, size_t element_bytes) {
  const bool is_vector = values.kind == Argument::Kind::vector;
  const std::vector<Argument> single{values};
  const std::vector<Argument>& parts = is_vector ? values.parts : single;
  bool wide = element_bytes == 8;
  for (const Argument& part : parts)
    wide |= part.kind == Argument::Kind::reg && binder_.register_bits(part.reg) == 64;
  for (const Argument& part : parts) {
    if (part.kind == Argument::Kind::reg) {
      const int bits = binder_.register_bits(part.reg);
      if (bits < static_cast<int>(8 * element_bytes) || bits == 1 || (bits == 64) != wide ||
          part.negated) {
        wrong_operands(statement_);
      }
      add(binder_.register_slot(part.reg));
    } else if (is_load && part.kind == Argument::Kind::none) {
      add(binder_.new_register(wide ? 64 : 32));
    } else if (is_load) {
      wrong_operands(statement_);
    } else {
      add(binder_.bind(part, wide ? 'd' : 'w', statement_.line));
    }
  }
  return wide;
}

// ld.space.type d, [a]   st.space.type [a], b
void MemoryDecoder::load_or_store(bool is_load) {
  mnemonic_.take_one_of(kOrders);
  mnemonic_.take_one_of(kScopes);
  const Space space = take_space(mnemonic_);
  const bool policy = take_hints(mnemonic_);
  const int count = mnemonic_.take("v2") ? 2 : mnemonic_.take("v4") ? 4 : 1;
  const auto type = element_type(mnemonic_.take_any());
  if (!type || !mnemonic_.done()) unknown(statement_);
  const auto& arguments = statement_.arguments;
  if (arguments.size() != (policy ? 3u : 2u)) wrong_operands(statement_);
  const Argument& values = arguments[is_load ? 0 : 1];
  const size_t parts = values.kind == Argument::Kind::vector ? values.parts.size() : 1;
  if (static_cast<int>(parts) != count) wrong_operands(statement_);
  MemoryForm form{type->bytes, type->is_signed, count, false};
  if (is_load) {
    form.wide_registers = bind_values(values, true, type->bytes);
    instruction_.destinations = instruction_.operands;
    add_address(arguments[1], instruction_.immediate);
  } else {
    add_address(arguments[0], instruction_.immediate);
    form.wide_registers = bind_values(values, false, type->bytes);
  }
  instruction_.execute = is_load ? load_handler(form) : store_handler(form);
  if (instruction_.execute == nullptr) unknown(statement_);
  instruction_.flags = static_cast<uint8_t>(space);
  touches(space, type->bytes * count);
}

// atom.space.op.type d, [a], b{, c}   red.space.op.type [a], b
void MemoryDecoder::atomic(bool returns) {
  mnemonic_.take_one_of(kOrders);
  mnemonic_.take_one_of(kScopes);
  const Space space = take_space(mnemonic_);
  if (space == Space::local || space == Space::parameter) unknown(statement_);
  const std::string_view operation = mnemonic_.take_any();
  const bool policy = take_hints(mnemonic_);
  const std::string_view type_name = mnemonic_.take_any();
  const auto type = element_type(type_name);
  instruction_.execute = atomic_handler(operation, type_name);
  if (instruction_.execute == nullptr || !type || !mnemonic_.done()) unknown(statement_);
  const auto& arguments = statement_.arguments;
  const size_t values = operation == "cas" ? 2 : 1;
  if (arguments.size() != (returns ? 1u : 0u) + 1 + values + (policy ? 1u : 0u))
    wrong_operands(statement_);
  const char kind = type->bytes == 8 ? 'd' : 'w';
  size_t next = 0;
  const bool dropped = !returns || arguments[0].kind == Argument::Kind::none;
  if (!dropped && arguments[0].kind != Argument::Kind::reg) wrong_operands(statement_);
  add(dropped ? kNoSlot : binder_.bind(arguments[0], kind, statement_.line));
  if (returns) ++next;
  instruction_.destinations = 1;
  add_address(arguments[next++], instruction_.immediate);
  for (size_t i = 0; i < values; ++i) add(binder_.bind(arguments[next++], kind, statement_.line));
  instruction_.flags = static_cast<uint8_t>(space);
  touches(space, type->bytes);
}

// cp.async.{ca,cg}.shared.global [to], [from], bytes{, bytes to read | predicate to ignore}{,
// policy}
void MemoryDecoder::async_copy() {
  const bool only_16 = mnemonic_.take("cg");
  if (!only_16 && !mnemonic_.take("ca")) unknown(statement_);
  if (take_space(mnemonic_) != Space::shared || take_space(mnemonic_) != Space::global)
    unknown(statement_);
  const bool policy = take_hints(mnemonic_);
  const auto& arguments = statement_.arguments;
  if (!mnemonic_.done()) unknown(statement_);
  const size_t required = 3 + (policy ? 1u : 0u);
  if (arguments.size() < required || arguments.size() > required + 1) wrong_operands(statement_);
  if (arguments[2].kind != Argument::Kind::integer) wrong_operands(statement_);
  const uint64_t bytes = arguments[2].bits;
  if (bytes != 16 && (only_16 || (bytes != 4 && bytes != 8))) wrong_operands(statement_);
  instruction_.execute = &execute_async_copy;
  instruction_.flags = static_cast<uint8_t>(bytes);
  add_address(arguments[0], instruction_.immediate);
  add_address(arguments[1], instruction_.immediate2);
  Slot size = kNoSlot;
  Slot ignore = kNoSlot;
  if (arguments.size() == required + 1) {
    const Argument& fourth = arguments[3];
    const bool is_predicate =
        fourth.kind == Argument::Kind::reg && binder_.register_bits(fourth.reg) == 1;
    (is_predicate ? ignore : size) =
        binder_.bind(fourth, is_predicate ? 'p' : 'w', statement_.line);
  }
  add(size);
  add(ignore);
  touches(Space::shared, bytes);
}

void no_operation(Warp&, const Instruction&) {}

// A prefetch changes nothing that can be seen.
void MemoryDecoder::prefetch() {
  take_space(mnemonic_);
  constexpr std::string_view kLevels[] = {"L1", "L2", "L2::evict_last", "L2::evict_normal"};
  if (mnemonic_.take_one_of(kLevels).empty() || !mnemonic_.done()) unknown(statement_);
  if (statement_.arguments.size() != 1) wrong_operands(statement_);
  add_address(statement_.arguments[0], instruction_.immediate);
  instruction_.execute = &no_operation;
}

}  // namespace

bool decode_memory(const Statement& statement, OperandBinder& binder, Function& function,
                   Instruction& instruction) {
  return MemoryDecoder(statement, binder, function, instruction).decode();
}

}  // namespace nvfp4::emulator
