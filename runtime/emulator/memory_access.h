// SPDX-License-Identifier: Apache-2.0
// How instructions reach memory: an address per lane, checked against the exact bounds of its
// space, its alignment, and what is known to have been written.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/emulator/warp.h"

namespace nvfp4::emulator {

enum class Space : uint8_t { global, shared, cluster, local, parameter, generic };

/// Generic addresses say in their top four bits which space they lie in; global ones are as they
/// are.
constexpr int kWindowShift = 60;
constexpr uint64_t kSharedWindow = uint64_t{1} << kWindowShift;
constexpr uint64_t kLocalWindow = uint64_t{2} << kWindowShift;
constexpr uint64_t kParameterWindow = uint64_t{3} << kWindowShift;

/// An address of shared::cluster is an offset in the executing CTA's shared memory or, as mapa
/// makes it, rank + 1 of the CTA above kRankShift and the offset there below.
constexpr int kRankShift = 24;
constexpr uint64_t kRankOffset = (uint64_t{1} << kRankShift) - 1;

enum class PeerAccess : uint8_t;

using LaneAddresses = std::array<uint64_t, 32>;

/// Address operand `operand` plus `offset`, for all lanes.
LaneAddresses lane_addresses(Warp& warp, const Instruction& instruction, int operand,
                             int64_t offset);

/// Offset in shared memory of [address, address + bytes); a fault unless it is inside and aligned.
/// Whether it may be accessed now is the shadow's matter.
size_t shared_offset(Warp& warp, int lane, uint64_t address, size_t bytes, const char* verb);

/// A place in the shared memory of the executing CTA or a peer.
struct SharedPlace {
  Block* block;
  size_t offset;
};
/// Where [address, address + bytes) of shared::cluster lies; a fault unless it is inside, aligned
/// and the CTA still runs.
SharedPlace cluster_place(Warp& warp, int lane, uint64_t address, size_t bytes, const char* verb,
                          PeerAccess access);
/// Without the window of a generic address; a fault if it is not one of shared memory.
uint64_t shared_address(Warp& warp, int lane, uint64_t generic);

/// Host memory behind a global address; a fault unless it is inside one allocation, aligned and,
/// when `read`, initialised. `write` marks it initialised.
std::byte* global_pointer(Warp& warp, int lane, uint64_t address, size_t bytes, bool read,
                          bool write);

/// The same for a range of any length, whose ends are multiples of `step`.
std::byte* global_range(Warp& warp, int lane, uint64_t address, size_t bytes, size_t step,
                        bool write);
/// Where the lane reads `bytes` at a generic address.
const std::byte* generic_pointer(Warp& warp, int lane, uint64_t address, size_t bytes);

/// Functions for one form of ld or st, which differ in what they move.
struct MemoryForm {
  size_t element_bytes;  ///< 1, 2, 4 or 8
  bool is_signed;        ///< sign-extend what is loaded
  int count;             ///< vector elements: 1, 2 or 4
  bool wide_registers;   ///< 64-bit cells
};
Handler load_handler(const MemoryForm& form);  ///< null when there is none
Handler store_handler(const MemoryForm& form);

/// atom and red: `operation` and `type` as in the mnemonic ("add", "u32"); null when unknown.
/// Operands: old value or none, address, b and, for cas, c.
Handler atomic_handler(std::string_view operation, std::string_view type);

/// cp.async. Operands: target, source, bytes to read or none (the rest is zero), predicate to read
/// nothing or none; flags: bytes to write.
void execute_async_copy(Warp& warp, const Instruction& instruction);

}  // namespace nvfp4::emulator
