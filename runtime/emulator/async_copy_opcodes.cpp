// SPDX-License-Identifier: Apache-2.0
// cp.async and its groups.
#include <fmt/format.h>

#include <cstring>

#include "runtime/emulator/cluster.h"
#include "runtime/emulator/memory_access.h"
#include "runtime/emulator/opcode_table.h"

namespace nvfp4::emulator {
namespace {

void copy_words(std::byte* to, const std::byte* from, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 4) {
    const uint32_t word =
        __atomic_load_n(reinterpret_cast<const uint32_t*>(from + i), __ATOMIC_RELAXED);
    std::memcpy(to + i, &word, 4);
  }
}

void read_source(Warp& warp, int lane, uint64_t source, size_t read, size_t bytes,
                 std::byte* data) {
  if (read > bytes) {
    warp.fail(FaultKind::illegal_address, lane,
              fmt::format("cp.async reads {} bytes to copy {}", read, bytes));
  }
  if (source % bytes != 0) {
    warp.fail(FaultKind::misaligned, lane,
              fmt::format("cp.async of {} bytes from address {:#x}, which is not a multiple of it",
                          bytes, source));
  }
  std::memset(data, 0, bytes);
  if (read == bytes)
    return copy_words(data, global_pointer(warp, lane, source, bytes, true, false), bytes);
  for (size_t i = 0; i < read; ++i)
    data[i] = *global_pointer(warp, lane, source + i, 1, true, false);
}

// The lanes' bytes reach shared memory.
auto landing(Warp& warp) {
  return [&warp](const AsyncCopy& copy, int lane) {
    Block& block = warp.block();
    std::memcpy(block.shared() + copy.target[lane], copy.data[lane].data(), copy.bytes);
    block.shadow().land_copy(warp.agent(), lane, copy.target[lane], copy.bytes);
  };
}

void commit_group(Warp& warp, const Instruction&) { warp.copies().commit(warp.mask()); }

// Operands: the number of groups that may stay in flight, a constant.
void wait_group(Warp& warp, const Instruction& instruction) {
  const uint32_t pending = warp.cells<uint32_t>(instruction.operand[0])[0];
  warp.copies().wait_group(warp.mask(), pending, landing(warp));
}

void wait_all(Warp& warp, const Instruction&) {
  warp.copies().wait_all(warp.mask(), landing(warp));
}

// The lane's copies so far belong to the phase in progress of the mbarrier at `address`, which they
// reach with an arrival when they have landed. Flags: kNoIncrement: that arrival is one of those
// that the phase expects, else one more. Unlike mbarrier.arrive it releases nothing else.
constexpr uint8_t kNoIncrement = 1;
constexpr uint8_t kGeneric = 2;

void arrive_on_mbarrier(Warp& warp, const Instruction& instruction) {
  const LaneAddresses address = lane_addresses(warp, instruction, 0, instruction.immediate);
  Block& block = warp.block();
  Mbarriers& own = block.mbarriers();
  for_each_lane(warp.mask(), [&](int lane) {
    const bool generic = (instruction.flags & kGeneric) != 0;
    Mbarrier& barrier =
        own.find(warp, lane, generic ? shared_address(warp, lane, address[lane]) : address[lane]);
    const Access access = own.copy_access(barrier);
    warp.copies().land_all(1u << lane, [&](const AsyncCopy& copy, int) {
      std::memcpy(block.shared() + copy.target[lane], copy.data[lane].data(), copy.bytes);
      block.shadow().attach_copy(access, copy.target[lane], copy.bytes);
    });
    if ((instruction.flags & kNoIncrement) == 0) ++barrier.pending;
    own.arrive(warp, lane, barrier, 1);
  });
}

}  // namespace

void execute_async_copy(Warp& warp, const Instruction& instruction) {
  const LaneAddresses target = lane_addresses(warp, instruction, 0, instruction.immediate);
  const LaneAddresses source = lane_addresses(warp, instruction, 1, instruction.immediate2);
  const Slot size_slot = instruction.operand[2];
  const Slot ignore_slot = instruction.operand[3];
  const uint32_t* size = size_slot == kNoSlot ? nullptr : warp.cells<uint32_t>(size_slot);
  const uint32_t ignored = ignore_slot == kNoSlot ? 0 : warp.predicate_mask(ignore_slot);
  const size_t bytes = instruction.flags;
  AsyncCopy& copy = warp.copies().issue(warp.mask());
  copy.bytes = static_cast<uint32_t>(bytes);
  for_each_lane(warp.mask(), [&](int lane) {
    const size_t offset = shared_offset(warp, lane, target[lane], bytes, "copies");
    warp.block().shadow().start_copy(warp.agent(), lane, offset, bytes);
    copy.target[lane] = static_cast<uint32_t>(offset);
    const size_t wanted = size == nullptr ? bytes : size[lane];
    read_source(warp, lane, source[lane], ignored >> lane & 1 ? 0 : wanted, bytes,
                copy.data[lane].data());
  });
}

void add_async_copy_opcodes(OpcodeTable& table) {
  table.add("cp.async.commit_group", {"=", &commit_group, 0});
  table.add("cp.async.wait_group", {"=w", &wait_group, 0});
  table.add("cp.async.wait_all", {"=", &wait_all, 0});
  for (const char* space : {"", ".shared", ".shared::cta"}) {
    const uint8_t flags = *space == '\0' ? kGeneric : 0;
    table.add(fmt::format("cp.async.mbarrier.arrive{}.b64", space),
              {"=a", &arrive_on_mbarrier, flags});
    table.add(fmt::format("cp.async.mbarrier.arrive.noinc{}.b64", space),
              {"=a", &arrive_on_mbarrier, static_cast<uint8_t>(flags | kNoIncrement)});
  }
}

}  // namespace nvfp4::emulator
