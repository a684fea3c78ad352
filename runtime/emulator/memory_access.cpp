// SPDX-License-Identifier: Apache-2.0
// Loads and stores. Global memory is shared by the host threads that run CTAs, so its elements move
// as relaxed atomics; their shadow bytes only ever turn from 0 to 0xff.
#include "runtime/emulator/memory_access.h"

#include <fmt/format.h>

#include <cstring>

#include "runtime/emulator/cluster.h"

namespace nvfp4::emulator {
namespace {

bool all_initialised(const std::byte* shadow, size_t bytes) {
  // Accesses are aligned, so the shadow is as well.
  if (bytes >= 8) {
    uint64_t all = ~uint64_t{0};
    for (size_t i = 0; i < bytes; i += 8) {
      all &= __atomic_load_n(reinterpret_cast<const uint64_t*>(shadow + i), __ATOMIC_RELAXED);
    }
    return all == ~uint64_t{0};
  }
  if (bytes == 4)
    return __atomic_load_n(reinterpret_cast<const uint32_t*>(shadow), __ATOMIC_RELAXED) == ~0u;
  for (size_t i = 0; i < bytes; ++i) {
    if (__atomic_load_n(reinterpret_cast<const uint8_t*>(shadow + i), __ATOMIC_RELAXED) == 0)
      return false;
  }
  return true;
}

void mark_initialised(std::byte* shadow, size_t bytes) {
  if (bytes >= 4) {
    for (size_t i = 0; i < bytes; i += 4) {
      __atomic_store_n(reinterpret_cast<uint32_t*>(shadow + i), ~0u, __ATOMIC_RELAXED);
    }
  } else {
    for (size_t i = 0; i < bytes; ++i) {
      __atomic_store_n(reinterpret_cast<uint8_t*>(shadow + i), 0xff, __ATOMIC_RELAXED);
    }
  }
}

[[noreturn]] void refuse_bounds(Warp& warp, int lane, const char* verb, size_t bytes,
                                const char* space, uint64_t address, size_t size) {
  warp.fail(FaultKind::illegal_address, lane,
            fmt::format("{} {} bytes at {}+{:#x}, beyond its {} bytes", verb, bytes, space, address,
                        size));
}

[[noreturn]] void refuse_alignment(Warp& warp, int lane, const char* verb, size_t bytes,
                                   uint64_t address) {
  warp.fail(FaultKind::misaligned, lane,
            fmt::format("{} {} bytes at address {:#x}, which is not a multiple of {}", verb, bytes,
                        address, bytes));
}

[[noreturn]] void refuse_global(Warp& warp, int lane, const char* verb, size_t bytes,
                                uint64_t address) {
  // Say which allocation it just misses.
  std::string near;
  for (uint64_t distance = 0; distance <= 4096 && near.empty(); distance += 256) {
    const GlobalMemory::Block below = warp.block().launch().memory->block(address - distance);
    if (below.bytes != 0) {
      near = fmt::format(", {} bytes after the start of an allocation of {}",
                         address - below.address, below.bytes);
    }
  }
  warp.fail(FaultKind::illegal_address, lane,
            fmt::format("{} {} bytes at global {:#x}, outside every allocation{}", verb, bytes,
                        address, near));
}

std::byte* small_space_pointer(Warp& warp, int lane, uint64_t address, size_t bytes,
                               std::byte* base, size_t size, const char* verb, const char* space) {
  if (address > size || bytes > size - address)
    refuse_bounds(warp, lane, verb, bytes, space, address, size);
  if (address % bytes != 0) refuse_alignment(warp, lane, verb, bytes, address);
  return base + address;
}

// Splits a generic address into its space and the address there.
Space generic_space(uint64_t& address) {
  const uint64_t window = address & (uint64_t{15} << kWindowShift);
  address &= ~window;
  if (window == kSharedWindow) return Space::cluster;
  if (window == kLocalWindow) return Space::local;
  if (window == kParameterWindow) return Space::parameter;
  address |= window;
  return Space::global;
}

// Where lane `lane` reads.
std::byte* read_pointer(Warp& warp, int lane, Space space, uint64_t address, size_t bytes) {
  Block& block = warp.block();
  switch (space) {
    case Space::global:
      return global_pointer(warp, lane, address, bytes, true, false);
    case Space::shared: {
      const size_t offset = shared_offset(warp, lane, address, bytes, "reads");
      SharedShadow::Reader(block.shadow(), warp.agent()).read(lane, offset, bytes);
      return block.shared() + offset;
    }
    case Space::cluster: {
      const SharedPlace place =
          cluster_place(warp, lane, address, bytes, "reads", PeerAccess::load);
      SharedShadow::Reader(place.block->shadow(), warp.agent()).read(lane, place.offset, bytes);
      return place.block->shared() + place.offset;
    }
    case Space::local:
      return small_space_pointer(warp, lane, address, bytes, block.local(warp.index(), lane),
                                 warp.function().local_bytes, "reads", "local");
    case Space::parameter: {
      const auto& params = block.request().params;
      return small_space_pointer(warp, lane, address, bytes, const_cast<std::byte*>(params.data()),
                                 params.size(), "reads", "param");
    }
    case Space::generic:
      break;
  }
  const Space actual = generic_space(address);
  return read_pointer(warp, lane, actual, address, bytes);
}

// Where lane `lane` writes `value`.
std::byte* write_pointer(Warp& warp, int lane, Space space, uint64_t address, size_t bytes,
                         const std::byte* value) {
  Block& block = warp.block();
  switch (space) {
    case Space::global:
      return global_pointer(warp, lane, address, bytes, false, true);
    case Space::shared:
    case Space::cluster: {
      const SharedPlace place =
          space == Space::cluster
              ? cluster_place(warp, lane, address, bytes, "writes", PeerAccess::other)
              : SharedPlace{&block, shared_offset(warp, lane, address, bytes, "writes")};
      std::byte* to = place.block->shared() + place.offset;
      const bool same = std::memcmp(to, value, bytes) == 0;
      place.block->shadow().write(warp.agent(), lane, place.offset, bytes, same);
      return to;
    }
    case Space::local:
      return small_space_pointer(warp, lane, address, bytes, block.local(warp.index(), lane),
                                 warp.function().local_bytes, "writes", "local");
    case Space::parameter:
      warp.fail(FaultKind::illegal_address, lane, "writes to the parameter space");
    case Space::generic:
      break;
  }
  const Space actual = generic_space(address);
  return write_pointer(warp, lane, actual, address, bytes, value);
}

// Operands: kCount destinations, address.
template <class T, class Cell, int kCount>
void load(Warp& warp, const Instruction& instruction) {
  const LaneAddresses address = lane_addresses(warp, instruction, kCount, instruction.immediate);
  const auto space = static_cast<Space>(instruction.flags);
  std::array<Cell*, kCount> destination;
  for (int e = 0; e < kCount; ++e)
    destination[e] = reinterpret_cast<Cell*>(warp.cells<Cell>(instruction.operand[e]));
  const auto take = [&](int lane, const std::byte* from) {
    for (int e = 0; e < kCount; ++e) {
      const T value = __atomic_load_n(reinterpret_cast<const T*>(from) + e, __ATOMIC_RELAXED);
      destination[e][lane] = static_cast<Cell>(value);
    }
  };
  constexpr size_t kBytes = sizeof(T) * kCount;
  if (space != Space::shared) {
    return for_each_lane(warp.mask(), [&](int lane) {
      take(lane, read_pointer(warp, lane, space, address[lane], kBytes));
    });
  }
  Block& block = warp.block();
  SharedShadow::Reader reader(block.shadow(), warp.agent());
  for_each_lane(warp.mask(), [&](int lane) {
    const size_t offset = shared_offset(warp, lane, address[lane], kBytes, "reads");
    reader.read(lane, offset, kBytes);
    take(lane, block.shared() + offset);
  });
}

// Operands: address, kCount sources.
template <class T, class Cell, int kCount>
void store(Warp& warp, const Instruction& instruction) {
  const LaneAddresses address = lane_addresses(warp, instruction, 0, instruction.immediate);
  const auto space = static_cast<Space>(instruction.flags);
  std::array<const Cell*, kCount> source;
  for (int e = 0; e < kCount; ++e)
    source[e] = reinterpret_cast<Cell*>(warp.cells<Cell>(instruction.operand[e + 1]));
  for_each_lane(warp.mask(), [&](int lane) {
    std::array<T, kCount> value;
    for (int e = 0; e < kCount; ++e) value[e] = static_cast<T>(source[e][lane]);
    std::byte* to = write_pointer(warp, lane, space, address[lane], sizeof value,
                                  reinterpret_cast<const std::byte*>(value.data()));
    for (int e = 0; e < kCount; ++e)
      __atomic_store_n(reinterpret_cast<T*>(to) + e, value[e], __ATOMIC_RELAXED);
  });
}

template <class T, class Cell>
Handler load_of_count(int count) {
  switch (count) {
    case 1:
      return &load<T, Cell, 1>;
    case 2:
      return &load<T, Cell, 2>;
    case 4:
      return sizeof(T) <= 4 ? &load<T, Cell, 4> : nullptr;
    default:
      return nullptr;
  }
}

template <class T>
Handler load_of_type(const MemoryForm& form) {
  if (form.wide_registers) return load_of_count<T, uint64_t>(form.count);
  return sizeof(T) <= 4 ? load_of_count<T, uint32_t>(form.count) : nullptr;
}

template <class T>
Handler store_of_type(const MemoryForm& form) {
  switch (form.count) {
    case 1:
      return form.wide_registers ? &store<T, uint64_t, 1> : &store<T, uint32_t, 1>;
    case 2:
      return form.wide_registers ? &store<T, uint64_t, 2> : &store<T, uint32_t, 2>;
    case 4:
      if (sizeof(T) > 4) return nullptr;
      return form.wide_registers ? &store<T, uint64_t, 4> : &store<T, uint32_t, 4>;
    default:
      return nullptr;
  }
}

}  // namespace

LaneAddresses lane_addresses(Warp& warp, const Instruction& instruction, int operand,
                             int64_t offset) {
  LaneAddresses addresses;
  if ((instruction.operand[operand] & kWideSlot) != 0) {
    const uint64_t* base = warp.cells<uint64_t>(instruction.operand[operand]);
    for (int lane = 0; lane < kWarpLanes; ++lane)
      addresses[lane] = base[lane] + static_cast<uint64_t>(offset);
  } else {
    const uint32_t* base = warp.cells<uint32_t>(instruction.operand[operand]);
    for (int lane = 0; lane < kWarpLanes; ++lane)
      addresses[lane] = base[lane] + static_cast<uint32_t>(offset);
  }
  return addresses;
}

size_t shared_offset(Warp& warp, int lane, uint64_t address, size_t bytes, const char* verb) {
  const size_t size = warp.block().shared_bytes();
  if (address > size || bytes > size - address)
    refuse_bounds(warp, lane, verb, bytes, "shared", address, size);
  if ((address & (bytes - 1)) != 0) refuse_alignment(warp, lane, verb, bytes, address);
  return address;
}

SharedPlace cluster_place(Warp& warp, int lane, uint64_t address, size_t bytes, const char* verb,
                          PeerAccess access) {
  const uint64_t rank = address >> kRankShift;
  if (rank == 0) return {&warp.block(), shared_offset(warp, lane, address, bytes, verb)};
  Block& peer = warp.block().cluster().peer(warp, lane, static_cast<uint32_t>(rank - 1), access);
  return {&peer, shared_offset(warp, lane, address & kRankOffset, bytes, verb)};
}

uint64_t shared_address(Warp& warp, int lane, uint64_t generic) {
  if (generic_space(generic) != Space::cluster) {
    warp.fail(FaultKind::illegal_address, lane,
              fmt::format("address {:#x} is not one of shared memory", generic));
  }
  return generic;
}

const std::byte* generic_pointer(Warp& warp, int lane, uint64_t address, size_t bytes) {
  return read_pointer(warp, lane, Space::generic, address, bytes);
}

std::byte* global_range(Warp& warp, int lane, uint64_t address, size_t bytes, size_t step,
                        bool write) {
  if (bytes == 0) return nullptr;
  std::byte* const data = global_pointer(warp, lane, address, step, !write, write);
  for (size_t at = step; at < bytes; at += step)
    global_pointer(warp, lane, address + at, step, !write, write);
  return data;
}

std::byte* global_pointer(Warp& warp, int lane, uint64_t address, size_t bytes, bool read,
                          bool write) {
  const char* verb = write ? "writes" : "reads";
  Block& block = warp.block();
  const GlobalMemory::Block& allocation = block.allocation(address);
  const uint64_t offset = address - allocation.address;
  if (allocation.bytes == 0 || offset >= allocation.bytes)
    refuse_global(warp, lane, verb, bytes, address);
  if (bytes > allocation.bytes - offset)
    refuse_bounds(warp, lane, verb, bytes, "an allocation", offset, allocation.bytes);
  if ((address & (bytes - 1)) != 0) refuse_alignment(warp, lane, verb, bytes, address);
  if (read) {
    if (!all_initialised(allocation.initialised + offset, bytes)) {
      warp.fail(FaultKind::uninitialised_read, lane,
                fmt::format("reads {} bytes at global {:#x} ({:#x} of an allocation of {}) that "
                            "were never written",
                            bytes, address, offset, allocation.bytes));
    }
    block.count_read(static_cast<int64_t>(bytes));
  }
  if (write) {
    if (warp.function().info.waits_for_grid && !warp.waited_for_grid) {
      warp.fail(FaultKind::write_before_grid_wait, lane,
                fmt::format("writes {} bytes at global {:#x} before griddepcontrol.wait", bytes,
                            address));
    }
    mark_initialised(allocation.initialised + offset, bytes);
    block.count_written(static_cast<int64_t>(bytes));
  }
  return allocation.data + offset;
}

Handler load_handler(const MemoryForm& form) {
  switch (form.element_bytes) {
    case 1:
      return form.is_signed ? load_of_type<int8_t>(form) : load_of_type<uint8_t>(form);
    case 2:
      return form.is_signed ? load_of_type<int16_t>(form) : load_of_type<uint16_t>(form);
    case 4:
      return form.is_signed ? load_of_type<int32_t>(form) : load_of_type<uint32_t>(form);
    case 8:
      return load_of_type<uint64_t>(form);
    default:
      return nullptr;
  }
}

Handler store_handler(const MemoryForm& form) {
  switch (form.element_bytes) {
    case 1:
      return store_of_type<uint8_t>(form);
    case 2:
      return store_of_type<uint16_t>(form);
    case 4:
      return store_of_type<uint32_t>(form);
    case 8:
      return form.wide_registers ? store_of_type<uint64_t>(form) : nullptr;
    default:
      return nullptr;
  }
}

}  // namespace nvfp4::emulator
