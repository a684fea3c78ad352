// SPDX-License-Identifier: Apache-2.0
#include "runtime/emulator/bulk_copies.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "runtime/emulator/cluster.h"
#include "runtime/emulator/memory_access.h"
#include "runtime/emulator/tensor_map.h"

namespace nvfp4::emulator {
namespace {

constexpr size_t kGranule = 16;  // bytes, of which sizes and addresses of bulk copies are multiples

void require_multiple(Warp& warp, int lane, const char* what, uint64_t value, uint64_t of) {
  if (value % of == 0) return;
  warp.fail(FaultKind::misaligned, lane,
            fmt::format("a bulk copy whose {} is {:#x}, not a multiple of {}", what, value, of));
}

// A range of a CTA's shared memory.
void require_inside(Warp& warp, int lane, const Block& block, const char* verb, uint64_t offset,
                    size_t bytes) {
  const size_t size = block.shared_bytes();
  if (offset <= size && bytes <= size - offset) return;
  warp.fail(FaultKind::illegal_address, lane,
            fmt::format("a bulk copy {} {} bytes at shared+{:#x}, beyond its {} bytes", verb, bytes,
                        offset, size));
}

// Words move as relaxed atomics: other host threads may write the source's neighbours.
void copy_words(std::byte* to, const std::byte* from, size_t bytes) {
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    const uint64_t word =
        __atomic_load_n(reinterpret_cast<const uint64_t*>(from + i), __ATOMIC_RELAXED);
    std::memcpy(to + i, &word, 8);
  }
  for (size_t i = bytes / 8 * 8; i < bytes; ++i)
    to[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
}

// Where a copy's bytes go: one CTA, or several at the same offsets.
struct Target {
  uint32_t offset;
  uint32_t barrier;
  std::vector<Block*> blocks;
};

Target target_of(Warp& warp, int lane, uint64_t address, uint64_t barrier, const uint32_t* mask) {
  Target target{static_cast<uint32_t>(address & kRankOffset),
                static_cast<uint32_t>(barrier & kRankOffset),
                {}};
  Cluster& cluster = warp.block().cluster();
  const auto rank_of = [&](uint64_t a) {
    return a >> kRankShift == 0 ? static_cast<uint64_t>(warp.block().rank())
                                : (a >> kRankShift) - 1;
  };
  if (mask == nullptr) {
    if (rank_of(address) != rank_of(barrier)) {
      warp.fail(
          FaultKind::mbarrier_misuse, lane,
          fmt::format("a bulk copy into CTA {} of the cluster completes on an mbarrier of CTA {}",
                      rank_of(address), rank_of(barrier)));
    }
    target.blocks.push_back(
        &cluster.peer(warp, lane, static_cast<uint32_t>(rank_of(address)), PeerAccess::copy));
    return target;
  }
  if (mask[lane] == 0) warp.fail(FaultKind::illegal_address, lane, "a multicast to no CTA");
  for_each_lane(mask[lane] & 0xffff, [&](int rank) {
    target.blocks.push_back(
        &cluster.peer(warp, lane, static_cast<uint32_t>(rank), PeerAccess::copy));
  });
  return target;
}

void land(Warp& warp, int lane, const Target& target, const std::byte* data, size_t bytes) {
  for (Block* block : target.blocks) {
    require_inside(warp, lane, *block, "writes", target.offset, bytes);
    Mbarriers& owner = block->mbarriers();
    Mbarrier& barrier = owner.find_for_copy(warp, lane, target.barrier);
    if (bytes > 0) {
      block->shadow().bulk_write(warp.agent(), lane, owner.copy_access(barrier), target.offset,
                                 bytes);
      std::memcpy(block->shared() + target.offset, data, bytes);
    }
    owner.complete(warp, lane, barrier, static_cast<uint32_t>(bytes));
  }
}

// Address operand `operand` of each lane.
struct Addresses {
  LaneAddresses first, second, third;
  Addresses(Warp& warp, const Instruction& i, int count)
      : first(lane_addresses(warp, i, 0, i.immediate)),
        second(lane_addresses(warp, i, 1, i.immediate2)),
        third(count < 3 ? LaneAddresses{} : lane_addresses(warp, i, 2, i.immediate3)) {}
};

const uint32_t* optional_cells(Warp& warp, Slot slot) {
  return slot == kNoSlot ? nullptr : warp.cells<uint32_t>(slot);
}

// A box of a tensor, and the place of its bytes in shared memory.
class Box {
 public:
  Box(Warp& warp, int lane, uint64_t map_address, const uint32_t* x, const uint32_t* y)
      : x_(static_cast<int32_t>(x[lane])), y_(static_cast<int32_t>(y[lane])) {
    constexpr size_t kHalf = TensorMap::kBytes / 2;
    require_multiple(warp, lane, "tensor map's address", map_address, kHalf);
    std::array<std::byte, TensorMap::kBytes> bytes;
    for (size_t at : {size_t{0}, kHalf})
      std::memcpy(bytes.data() + at, generic_pointer(warp, lane, map_address + at, kHalf), kHalf);
    const auto map = TensorMap::decode(bytes.data());
    if (!map || map->rank != 2 || map->interleaved || map->step[0] != 1 || map->step[1] != 1) {
      warp.fail(FaultKind::illegal_address, lane,
                map ? "a tensor map of a kind that is not run: 2-D, dense and not interleaved is"
                    : fmt::format("no tensor map lies at address {:#x}", map_address));
    }
    map_ = *map;
  }

  size_t bytes() const { return map_.box_bytes(); }

  // Swizzling exchanges 16-byte chunks by the address bits above them (PTX ISA, "Swizzling Modes").
  uint32_t alignment() const { return map_.swizzle_bytes == 0 ? 16 : 128; }

  /// Calls body(global address, bytes, place) for each piece inside the tensor of each row, and
  /// outside(place, bytes) for the rest; a place is an offset from `start`.
  template <class Inside, class Outside>
  void for_each_chunk(uint32_t start, Inside&& inside, Outside&& outside) const {
    const uint32_t row_bytes = map_.box[0] * map_.element_bytes;
    const uint32_t flip = map_.swizzle_bytes == 0 ? 0 : map_.swizzle_bytes - 16;
    const int64_t width = static_cast<int64_t>(map_.size[0]) * map_.element_bytes;
    for (int row = 0; row < map_.box[1]; ++row) {
      const int64_t y = int64_t{y_} + row;
      const bool within = y >= 0 && y < static_cast<int64_t>(map_.size[1]);
      for (uint32_t chunk = 0; chunk < row_bytes; chunk += kGranule) {
        const uint32_t plain = start + row * row_bytes + chunk;
        const uint32_t place = (plain ^ ((plain >> 3) & flip)) - start;
        const int64_t x = int64_t{x_} * map_.element_bytes + chunk;
        const int64_t begin = within ? std::clamp<int64_t>(0, x, x + int64_t{kGranule}) : x;
        const int64_t end = within ? std::clamp<int64_t>(width, begin, x + int64_t{kGranule}) : x;
        if (end - begin < int64_t{kGranule}) outside(place, kGranule);
        if (end > begin) {
          inside(map_.address + static_cast<uint64_t>(y) * map_.stride[1] +
                     static_cast<uint64_t>(begin),
                 static_cast<size_t>(end - begin), place + static_cast<uint32_t>(begin - x));
        }
      }
    }
  }
  size_t step(size_t bytes) const { return bytes == kGranule ? kGranule : map_.element_bytes; }
  bool fills_nan() const { return map_.nan_fill; }

 private:
  TensorMap map_;
  int32_t x_;
  int32_t y_;
};

}  // namespace

void execute_bulk_load(Warp& warp, const Instruction& instruction) {
  const Addresses address(warp, instruction, 3);
  const uint32_t* bytes = warp.cells<uint32_t>(instruction.operand[3]);
  const uint32_t* mask = optional_cells(warp, instruction.operand[4]);
  for_each_lane(warp.mask(), [&](int lane) {
    require_multiple(warp, lane, "size", bytes[lane], kGranule);
    require_multiple(warp, lane, "target", address.first[lane], kGranule);
    require_multiple(warp, lane, "source", address.second[lane], kGranule);
    std::vector<std::byte> data(bytes[lane]);
    const std::byte* from =
        global_range(warp, lane, address.second[lane], bytes[lane], kGranule, false);
    copy_words(data.data(), from, bytes[lane]);
    land(warp, lane, target_of(warp, lane, address.first[lane], address.third[lane], mask),
         data.data(), data.size());
  });
}

// The source is read until the target's mbarrier says that the copy is over.
void execute_bulk_send(Warp& warp, const Instruction& instruction) {
  const Addresses address(warp, instruction, 3);
  const uint32_t* bytes = warp.cells<uint32_t>(instruction.operand[3]);
  Block& own = warp.block();
  for_each_lane(warp.mask(), [&](int lane) {
    require_multiple(warp, lane, "size", bytes[lane], kGranule);
    require_multiple(warp, lane, "target", address.first[lane], kGranule);
    require_multiple(warp, lane, "source", address.second[lane], kGranule);
    require_inside(warp, lane, own, "reads", address.second[lane], bytes[lane]);
    const Target target = target_of(warp, lane, address.first[lane], address.third[lane], nullptr);
    Mbarriers& owner = target.blocks[0]->mbarriers();
    const Access reader = owner.copy_access(owner.find_for_copy(warp, lane, target.barrier));
    std::vector<SharedShadow::Write> found;
    own.shadow().read_async(reader, address.second[lane], bytes[lane], found);
    for (const SharedShadow::Write& write : found)
      own.shadow().check_async_read(warp.agent(), lane, address.second[lane], bytes[lane], write);
    const std::byte* from = own.shared() + address.second[lane];
    const std::vector<std::byte> data(from, from + bytes[lane]);
    land(warp, lane, target, data.data(), data.size());
  });
}

void execute_bulk_store(Warp& warp, const Instruction& instruction) {
  const Addresses address(warp, instruction, 2);
  const uint32_t* bytes = warp.cells<uint32_t>(instruction.operand[2]);
  Block& own = warp.block();
  for_each_lane(warp.mask(), [&](int lane) {
    const uint64_t from = address.second[lane];
    require_multiple(warp, lane, "size", bytes[lane], kGranule);
    require_multiple(warp, lane, "target", address.first[lane], kGranule);
    require_multiple(warp, lane, "source", from, kGranule);
    require_inside(warp, lane, own, "reads", from, bytes[lane]);
    if (bytes[lane] == 0) return;
    own.shadow().start_bulk_read(warp.agent(), lane, from, bytes[lane]);
    warp.bulk_reads().start(lane, static_cast<uint32_t>(from), bytes[lane]);
    std::byte* to = global_range(warp, lane, address.first[lane], bytes[lane], kGranule, true);
    copy_words(to, own.shared() + from, bytes[lane]);
  });
}

void execute_tensor_load(Warp& warp, const Instruction& instruction) {
  const Addresses address(warp, instruction, 3);
  const uint32_t* x = warp.cells<uint32_t>(instruction.operand[3]);
  const uint32_t* y = warp.cells<uint32_t>(instruction.operand[4]);
  const uint32_t* mask = optional_cells(warp, instruction.operand[5]);
  for_each_lane(warp.mask(), [&](int lane) {
    const Box box(warp, lane, address.second[lane], x, y);
    require_multiple(warp, lane, "target", address.first[lane] & kRankOffset, box.alignment());
    const Target target = target_of(warp, lane, address.first[lane], address.third[lane], mask);
    std::vector<std::byte> data(box.bytes());
    box.for_each_chunk(
        target.offset,
        [&](uint64_t from, size_t bytes, uint32_t place) {
          copy_words(data.data() + place,
                     global_range(warp, lane, from, bytes, box.step(bytes), false), bytes);
        },
        [&](uint32_t place, size_t bytes) {
          std::memset(data.data() + place, box.fills_nan() ? 0xff : 0, bytes);
        });
    land(warp, lane, target, data.data(), data.size());
  });
}

void execute_tensor_store(Warp& warp, const Instruction& instruction) {
  const Addresses address(warp, instruction, 2);
  const uint32_t* x = warp.cells<uint32_t>(instruction.operand[2]);
  const uint32_t* y = warp.cells<uint32_t>(instruction.operand[3]);
  Block& own = warp.block();
  for_each_lane(warp.mask(), [&](int lane) {
    const uint64_t from = address.second[lane];
    const Box box(warp, lane, address.first[lane], x, y);
    require_multiple(warp, lane, "source", from, box.alignment());
    require_inside(warp, lane, own, "reads", from, box.bytes());
    own.shadow().start_bulk_read(warp.agent(), lane, from, box.bytes());
    warp.bulk_reads().start(lane, static_cast<uint32_t>(from), static_cast<uint32_t>(box.bytes()));
    box.for_each_chunk(
        static_cast<uint32_t>(from),
        [&](uint64_t to, size_t bytes, uint32_t place) {
          std::byte* target = global_range(warp, lane, to, bytes, box.step(bytes), true);
          copy_words(target, own.shared() + from + place, bytes);
        },
        [](uint32_t, size_t) {});
  });
}

void execute_async_store(Warp& warp, const Instruction& instruction) {
  const Addresses address(warp, instruction, 2);
  const size_t width = instruction.flags;
  const int count = instruction.operands - 2;
  for_each_lane(warp.mask(), [&](int lane) {
    std::array<std::byte, 16> data;
    for (int e = 0; e < count; ++e) {
      const Slot slot = instruction.operand[2 + e];
      const uint64_t value =
          width == 8 ? warp.cells<uint64_t>(slot)[lane] : warp.cells<uint32_t>(slot)[lane];
      std::memcpy(data.data() + e * width, &value, width);
    }
    require_multiple(warp, lane, "target", address.first[lane], width * count);
    land(warp, lane, target_of(warp, lane, address.first[lane], address.second[lane], nullptr),
         data.data(), width * count);
  });
}

}  // namespace nvfp4::emulator
