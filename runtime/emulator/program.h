// SPDX-License-Identifier: Apache-2.0
// Decoded code: what the interpreter runs. Every operand is a slot, that is, the place of 32 lane
// values in the warp's register file or in the kernel's constant pool; an instruction is a pointer
// to the function that executes it for a warp, and its slots.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/emulator/machine.h"

namespace nvfp4::emulator {

constexpr int kWarpLanes = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

/// Byte offset of 32 lane values: 4 bytes a lane, or 8 for 64-bit registers. 16-bit registers are
/// kept zero-extended in 4 bytes, predicates as 0 or ~0.
using Slot = uint32_t;
constexpr Slot kConstantSlot = 1u << 31;  ///< set: into the constant pool
constexpr Slot kWideSlot = 1u << 30;      ///< set: cells of 64 bits
constexpr Slot kSlotOffset = kWideSlot - 1;
constexpr Slot kNoSlot = ~0u;

class Warp;
struct Instruction;
using Handler = void (*)(Warp&, const Instruction&);

constexpr int kMaxOperands = 14;  ///< mma m16n8k16: 4 + 4 + 2 + 4
constexpr int kNoTarget = -1;

struct Instruction {
  Handler execute = nullptr;
  int64_t immediate = 0;   ///< offset of the first address operand
  int64_t immediate2 = 0;  ///< offset of the second one
  int64_t immediate3 = 0;  ///< offset of the third one
  std::array<Slot, kMaxOperands> operand{};
  Slot guard = kNoSlot;  ///< a predicate
  int32_t line = 0;
  int32_t target = kNoTarget;  ///< of a branch
  int32_t reconverge =
      kNoTarget;      ///< of a branch: where its paths meet again; kNoTarget: at the end
  int32_t list = -1;  ///< of Function::operand_lists: the accumulators of a wgmma
  uint8_t operands = 0;
  uint8_t destinations = 0;  ///< the first operands are written
  bool guard_negated = false;
  uint8_t flags = 0;           ///< what the opcode says
  bool touches_wgmma = false;  ///< an ordinary instruction with a register that a wgmma uses
};

/// Registers whose value is known when a warp starts.
/// (special_registers.cpp counts on x, y, z in a row, and on the order of these rows.)
enum class Special : uint8_t {
  tid_x,
  tid_y,
  tid_z,
  ntid_x,
  ntid_y,
  ntid_z,
  ctaid_x,
  ctaid_y,
  ctaid_z,
  nctaid_x,
  nctaid_y,
  nctaid_z,
  laneid,
  warpid,
  nwarpid,
  smid,
  nsmid,
  gridid,
  lanemask_eq,
  lanemask_lt,
  lanemask_le,
  lanemask_gt,
  lanemask_ge,
  dynamic_smem_size,
  total_smem_size,
  cluster_ctaid_x,
  cluster_ctaid_y,
  cluster_ctaid_z,
  cluster_nctaid_x,
  cluster_nctaid_y,
  cluster_nctaid_z,
  clusterid_x,
  clusterid_y,
  clusterid_z,
  nclusterid_x,
  nclusterid_y,
  nclusterid_z,
  cluster_ctarank,
  cluster_nctarank,
  is_explicit_cluster,  ///< a predicate
  variable,             ///< the address of a module variable
};

struct Preload {
  Special special;
  Slot slot;
  int variable = 0;  ///< index into Module::variables
};

struct Function {
  EntryInfo info;
  std::vector<Instruction> code;
  std::vector<Preload> preloads;
  std::vector<uint32_t> constants;               ///< the pool, each constant repeated for 32 lanes
  std::vector<std::vector<Slot>> operand_lists;  ///< what no instruction has room for
  size_t register_bytes = 0;
  size_t wgmma_bytes = 0;          ///< registers below this belong to wgmma operands, unshared
  size_t local_bytes = 0;          ///< a thread
  size_t dynamic_smem_offset = 0;  ///< where .extern .shared arrays start
  size_t shared_cell = 16;         ///< bytes of the smallest access to shared memory
  std::vector<std::vector<int32_t>> branch_tables;  ///< of brx.idx
};

struct Module {
  std::vector<ModuleVariable> variables;
  std::vector<Function> functions;
};

}  // namespace nvfp4::emulator
