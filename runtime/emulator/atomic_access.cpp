// SPDX-License-Identifier: Apache-2.0
// atom and red. Every operation is a compare-and-swap loop around a function of the old value, on
// host memory: CTAs on other host threads see it as one step. Lanes take their turns in order.
#include <algorithm>
#include <type_traits>

#include "runtime/emulator/cluster.h"
#include "runtime/emulator/memory_access.h"

namespace nvfp4::emulator {
namespace {

std::byte* atomic_pointer(Warp& warp, int lane, Space space, uint64_t address, size_t bytes) {
  if (space == Space::generic) {
    const bool is_shared = address >> kWindowShift == kSharedWindow >> kWindowShift;
    space = is_shared ? Space::cluster : Space::global;
    if (is_shared) address -= kSharedWindow;
  }
  if (space == Space::global) return global_pointer(warp, lane, address, bytes, true, true);
  const SharedPlace place =
      space == Space::cluster
          ? cluster_place(warp, lane, address, bytes, "updates", PeerAccess::other)
          : SharedPlace{&warp.block(), shared_offset(warp, lane, address, bytes, "updates")};
  place.block->shadow().atomic(warp.agent(), lane, place.offset, bytes);
  return place.block->shared() + place.offset;
}

// kUpdate(old, b, c) is the new value.
template <class T, auto kUpdate>
void update(Warp& warp, const Instruction& instruction) {
  using Bits = LaneCell<T>;
  const LaneAddresses address = lane_addresses(warp, instruction, 1, instruction.immediate);
  const auto space = static_cast<Space>(instruction.flags);
  const Bits* b = warp.cells<T>(instruction.operand[2]);
  const Bits* c = instruction.operands > 3 ? warp.cells<T>(instruction.operand[3]) : b;
  Bits* d = instruction.operand[0] == kNoSlot ? nullptr : warp.cells<T>(instruction.operand[0]);
  for_each_lane(warp.mask(), [&](int lane) {
    auto* target =
        reinterpret_cast<Bits*>(atomic_pointer(warp, lane, space, address[lane], sizeof(T)));
    Bits old = __atomic_load_n(target, __ATOMIC_RELAXED);
    Bits fresh;
    do {
      fresh = to_cell<T>(kUpdate(from_cell<T>(old), from_cell<T>(b[lane]), from_cell<T>(c[lane])));
    } while (!__atomic_compare_exchange_n(target, &old, fresh, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));
    if (d != nullptr) d[lane] = old;
  });
}

template <class T>
Handler arithmetic(std::string_view operation) {
  if (operation == "add") {
    using U = std::make_unsigned_t<T>;  // sums wrap
    return &update<U, [](U old, U b, U) { return old + b; }>;
  }
  if (operation == "min") return &update<T, [](T old, T b, T) { return std::min(old, b); }>;
  if (operation == "max") return &update<T, [](T old, T b, T) { return std::max(old, b); }>;
  return nullptr;
}

template <class T>
Handler bitwise(std::string_view operation) {
  if (operation == "exch") return &update<T, [](T, T b, T) { return b; }>;
  if (operation == "cas") return &update<T, [](T old, T b, T c) { return old == b ? c : old; }>;
  if (operation == "and") return &update<T, [](T old, T b, T) { return old & b; }>;
  if (operation == "or") return &update<T, [](T old, T b, T) { return old | b; }>;
  if (operation == "xor") return &update<T, [](T old, T b, T) { return old ^ b; }>;
  return nullptr;
}

Handler wrapping(std::string_view operation) {
  using T = uint32_t;
  if (operation == "inc") return &update<T, [](T old, T b, T) { return b <= old ? 0 : old + 1; }>;
  if (operation == "dec")
    return &update<T, [](T old, T b, T) { return old == 0 || b < old ? b : old - 1; }>;
  return nullptr;
}

}  // namespace

Handler atomic_handler(std::string_view operation, std::string_view type) {
  if (type == "b32") return bitwise<uint32_t>(operation);
  if (type == "b64") return bitwise<uint64_t>(operation);
  if (type == "u32") {
    const Handler handler = arithmetic<uint32_t>(operation);
    return handler != nullptr ? handler : wrapping(operation);
  }
  if (type == "s32") return arithmetic<int32_t>(operation);
  if (type == "u64") return arithmetic<uint64_t>(operation);
  if (type == "s64") return arithmetic<int64_t>(operation);
  if (operation != "add") return nullptr;
  if (type == "f32") return &update<float, [](float old, float b, float) { return old + b; }>;
  if (type == "f64") return &update<double, [](double old, double b, double) { return old + b; }>;
  return nullptr;
}

}  // namespace nvfp4::emulator
