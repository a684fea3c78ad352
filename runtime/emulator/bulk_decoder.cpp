// SPDX-License-Identifier: Apache-2.0
// The forms of cp.async.bulk and st.async (PTX ISA, "Data Movement and Conversion Instructions:
// Asynchronous Copy"). Cache hints are recognised and dropped; reductions, im2col and tensors of
// other than two dimensions are refused.
#include <fmt/format.h>

#include "runtime/emulator/bulk_copies.h"
#include "runtime/emulator/mnemonic.h"
#include "runtime/emulator/opcode_table.h"

namespace nvfp4::emulator {
namespace {

class BulkDecoder {
 public:
  BulkDecoder(const Statement& statement, OperandBinder& binder, Function& function,
              Instruction& instruction)
      : statement_(statement),
        binder_(binder),
        function_(function),
        instruction_(instruction),
        mnemonic_(statement.opcode) {}

  bool decode() {
    if (mnemonic_.opcode() == "st" && mnemonic_.take("async")) {
      async_store();
    } else if (mnemonic_.opcode() == "cp" && mnemonic_.take("async") && mnemonic_.take("bulk")) {
      if (mnemonic_.take("prefetch")) {
        prefetch();
      } else {
        mnemonic_.take("tensor") ? tensor() : linear();
      }
    } else {
      return false;
    }
    if (!mnemonic_.done() || next_ != statement_.arguments.size()) refuse();
    return true;
  }

 private:
  [[noreturn]] void refuse() const {
    throw PtxError(statement_.line, fmt::format("unknown form of '{}'", statement_.opcode));
  }
  const Argument& argument() {
    if (next_ == statement_.arguments.size()) refuse();
    return statement_.arguments[next_++];
  }
  void add(Slot slot) { instruction_.operand[instruction_.operands++] = slot; }
  void add_address(const Argument& argument) {
    int64_t* const offsets[] = {&instruction_.immediate, &instruction_.immediate2,
                                &instruction_.immediate3};
    add(binder_.bind_address(argument, statement_.line, *offsets[addresses_++]));
  }
  void add_value(char kind) { add(binder_.bind(argument(), kind, statement_.line)); }

  bool to_shared() { return mnemonic_.take("shared::cluster") || mnemonic_.take("shared::cta"); }
  bool completes_on_mbarrier() { return mnemonic_.take("mbarrier::complete_tx::bytes"); }
  void finish_load(bool may_multicast);
  void take_policy() {
    if (mnemonic_.take("L2::cache_hint")) binder_.bind(argument(), 'd', statement_.line);
  }
  // [map, {x, y}]: the map's address; the coordinates are added later.
  const Argument& tensor_argument() {
    const Argument& tensor = argument();
    if (tensor.kind != Argument::Kind::address || tensor.parts.size() != 3) refuse();
    add_address(tensor);
    return tensor;
  }
  void add_coordinates(const Argument& tensor) {
    add(binder_.bind(tensor.parts[1], 'w', statement_.line));
    add(binder_.bind(tensor.parts[2], 'w', statement_.line));
  }

  void linear();
  void tensor();
  void prefetch();
  void async_store();

  const Statement& statement_;
  OperandBinder& binder_;
  Function& function_;
  Instruction& instruction_;
  Mnemonic mnemonic_;
  size_t next_ = 0;
  int addresses_ = 0;
};

// What may follow a load's operands: a CTA mask and a cache policy.
void BulkDecoder::finish_load(bool may_multicast) {
  const bool multicast = may_multicast && mnemonic_.take("multicast::cluster");
  if (multicast) {
    add_value('h');
  } else {
    add(kNoSlot);
  }
  take_policy();
}

void BulkDecoder::linear() {
  if (to_shared()) {
    const bool from_global = mnemonic_.take("global");
    if (!from_global && !mnemonic_.take("shared::cta")) refuse();
    if (!completes_on_mbarrier()) refuse();
    add_address(argument());
    add_address(argument());
    const Argument& bytes = argument();
    add_address(argument());
    add(binder_.bind(bytes, 'w', statement_.line));
    finish_load(from_global);
    instruction_.execute = from_global ? &execute_bulk_load : &execute_bulk_send;
    return;
  }
  if (!mnemonic_.take("global") || !mnemonic_.take("shared::cta") || !mnemonic_.take("bulk_group"))
    refuse();
  add_address(argument());
  add_address(argument());
  add_value('w');
  take_policy();
  instruction_.execute = &execute_bulk_store;
}

void BulkDecoder::tensor() {
  if (!mnemonic_.take("2d")) refuse();
  if (to_shared()) {
    if (!mnemonic_.take("global")) refuse();
    mnemonic_.take("tile");
    if (!completes_on_mbarrier()) refuse();
    add_address(argument());
    const Argument& tensor = tensor_argument();
    add_address(argument());
    add_coordinates(tensor);
    finish_load(true);
    instruction_.execute = &execute_tensor_load;
    return;
  }
  if (!mnemonic_.take("global") || !mnemonic_.take("shared::cta")) refuse();
  mnemonic_.take("tile");
  if (!mnemonic_.take("bulk_group")) refuse();
  const Argument& tensor = tensor_argument();
  add_address(argument());
  add_coordinates(tensor);
  take_policy();
  instruction_.execute = &execute_tensor_store;
}

void no_operation(Warp&, const Instruction&) {}

// cp.async.bulk.prefetch{.tensor.2d}.L2.global{.tile}: changes nothing that can be seen.
void BulkDecoder::prefetch() {
  const bool tensor = mnemonic_.take("tensor") && mnemonic_.take("2d");
  if (!mnemonic_.take("L2") || !mnemonic_.take("global")) refuse();
  if (tensor) {
    mnemonic_.take("tile");
    add_coordinates(tensor_argument());
  } else {
    add_address(argument());
    add_value('w');
  }
  take_policy();
  instruction_.execute = &no_operation;
}

// st.async{.weak}.shared::cluster.mbarrier::complete_tx::bytes{.vec}.type [a], b, [mbarrier]
void BulkDecoder::async_store() {
  mnemonic_.take("weak");
  if (!mnemonic_.take("shared::cluster") || !completes_on_mbarrier()) refuse();
  const size_t count = mnemonic_.take("v4") ? 4 : mnemonic_.take("v2") ? 2 : 1;
  const std::string_view type = mnemonic_.take_any();
  const bool wide = type == "b64" || type == "u64" || type == "s64";
  if (!wide && type != "b32" && type != "u32" && type != "s32" && type != "f32") refuse();
  if (wide && count == 4) refuse();
  add_address(argument());
  const Argument& values = argument();
  add_address(argument());
  const std::vector<Argument> single{values};
  const auto& parts = values.kind == Argument::Kind::vector ? values.parts : single;
  if (parts.size() != count) refuse();
  for (const Argument& part : parts) add(binder_.bind(part, wide ? 'd' : 'w', statement_.line));
  instruction_.flags = wide ? 8 : 4;
  instruction_.execute = &execute_async_store;
  function_.shared_cell = std::min<size_t>(function_.shared_cell, instruction_.flags);
}

void commit_group(Warp& warp, const Instruction&) { warp.bulk_reads().commit(warp.mask()); }

// Operands: the number of groups that may stay in flight, a constant.
void wait_group(Warp& warp, const Instruction& instruction) {
  warp.bulk_reads().wait(warp, warp.mask(), warp.cells<uint32_t>(instruction.operand[0])[0]);
}

}  // namespace

bool decode_bulk_copy(const Statement& statement, OperandBinder& binder, Function& function,
                      Instruction& instruction) {
  return BulkDecoder(statement, binder, function, instruction).decode();
}

void add_bulk_copy_opcodes(OpcodeTable& table) {
  table.add("cp.async.bulk.commit_group", {"=", &commit_group, 0});
  table.add("cp.async.bulk.wait_group cp.async.bulk.wait_group.read", {"=w", &wait_group, 0});
  table.add("prefetch.tensormap prefetch.const.tensormap prefetch.param.tensormap",
            {"=a", &no_operation, 0});
}

}  // namespace nvfp4::emulator
