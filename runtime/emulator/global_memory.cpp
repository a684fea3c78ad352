// SPDX-License-Identifier: Apache-2.0
// Allocations by address. Address space is plenty, so addresses only ever grow: a stale pointer
// never points into something newer.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#include "runtime/emulator/machine.h"

namespace nvfp4::emulator {
namespace {

constexpr uint64_t kFirstAddress = 0x7000'0000'0000u >> 4;
constexpr uint64_t kAlignment = 256;
// Unmapped space behind every block: wide enough that an index off by a row or a tile does not land
// in the next block (4 KiB hid two kernel mutants).
constexpr uint64_t kGap = uint64_t{64} << 20;

// Large blocks come from calloc as fresh zero pages, which cost nothing until they are touched.
std::unique_ptr<std::byte[], void (*)(void*)> zeroed(size_t bytes) {
  return {static_cast<std::byte*>(std::calloc(bytes, 1)), &std::free};
}

}  // namespace

GlobalMemory::GlobalMemory(size_t capacity) : capacity_(capacity), next_address_(kFirstAddress) {}

uint64_t GlobalMemory::allocate(size_t bytes) {
  const std::unique_lock lock(mutex_);
  if (bytes == 0 || bytes > capacity_ - used_) return 0;
  Allocation allocation{zeroed(bytes), zeroed(bytes), bytes};
  if (!allocation.data || !allocation.initialised) return 0;
  const uint64_t address = next_address_;
  next_address_ += (bytes + kAlignment - 1) / kAlignment * kAlignment + kGap;
  used_ += bytes;
  allocations_.emplace(address, std::move(allocation));
  return address;
}

bool GlobalMemory::free(uint64_t address) {
  const std::unique_lock lock(mutex_);
  const auto found = allocations_.find(address);
  if (found == allocations_.end()) return false;
  used_ -= found->second.bytes;
  allocations_.erase(found);
  return true;
}

GlobalMemory::Block GlobalMemory::block(uint64_t address) const {
  const std::shared_lock lock(mutex_);
  auto found = allocations_.upper_bound(address);
  if (found == allocations_.begin()) return {};
  --found;
  const Allocation& allocation = found->second;
  if (address - found->first >= allocation.bytes) return {};
  return {found->first, allocation.bytes, allocation.data.get(), allocation.initialised.get()};
}

std::byte* GlobalMemory::resolve(uint64_t address, size_t bytes, bool write) {
  const Block found = block(address);
  const uint64_t offset = address - found.address;
  if (found.bytes == 0 || bytes > found.bytes - offset) return nullptr;
  if (write) std::memset(found.initialised + offset, 0xff, bytes);
  return found.data + offset;
}

bool GlobalMemory::initialised(uint64_t address, size_t bytes) const {
  const Block found = block(address);
  const uint64_t offset = address - found.address;
  if (found.bytes == 0 || bytes > found.bytes - offset) return false;
  for (size_t i = 0; i < bytes; ++i) {
    if (found.initialised[offset + i] == std::byte{0}) return false;
  }
  return true;
}

std::optional<std::pair<uint64_t, size_t>> GlobalMemory::find(uint64_t address) const {
  const Block found = block(address);
  if (found.bytes == 0) return std::nullopt;
  return std::pair(found.address, found.bytes);
}

size_t GlobalMemory::used() const {
  const std::shared_lock lock(mutex_);
  return used_;
}

std::vector<uint64_t> materialise_variables(const Program& program, GlobalMemory& memory) {
  std::vector<uint64_t> addresses;
  for (const ModuleVariable& variable : program.variables()) {
    const uint64_t address = memory.allocate(std::max<size_t>(variable.bytes, 1));
    if (address == 0) throw std::bad_alloc();
    std::byte* data = memory.resolve(address, variable.bytes, true);
    if (!variable.initial.empty()) std::memcpy(data, variable.initial.data(), variable.bytes);
    addresses.push_back(address);
  }
  return addresses;
}

}  // namespace nvfp4::emulator
