// SPDX-License-Identifier: Apache-2.0
// Finds accesses to shared memory that nothing orders: the happens-before relation of the PTX
// memory model, kept as one vector clock a warp.
//
// Time is counted in stamps: a warp's stamp grows at every point where all its lanes synchronise
// (bar.warp.sync or a CTA barrier). A warp knows, for each other warp, the latest stamp whose
// accesses lie before its own next access; barriers exchange that knowledge. Shared memory is
// divided into cells of the kernel's smallest access. A cell remembers its last write (who, when)
// and for each warp the last read (which lane, when). An access must come after the last write, and
// a write after all reads as well; the same thread always comes after itself. Lanes of one warp are
// different threads: running in lockstep orders nothing, and neither do shfl, ldmatrix or mma (PTX
// ISA, "Memory Consistency Model"); only bar.warp.sync and barriers do.
//
// cp.async is a write by its thread that begins when it is issued and ends at the thread's wait: in
// between the cell is in flight and any access to it is an error.
//
// Known limits: bar.warp.sync of a part of a warp counts as one of the whole warp; a flag in shared
// memory that warps spin on is not understood as synchronisation and is reported.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/emulator/fault.h"

namespace nvfp4::emulator {

class SharedShadow {
 public:
  static constexpr int kMaxWarps = 32;
  static constexpr int kWholeWarp = 32;  ///< as a lane: an access made for all lanes (ldmatrix)

  /// What one warp knows of every warp.
  using Clock = std::array<uint32_t, kMaxWarps>;

  SharedShadow(size_t shared_bytes, size_t cell_bytes, int warps);

  /// Forgets all accesses and orders nothing: a new CTA on the same memory.
  void start_block();

  void read(int warp, int lane, size_t offset, size_t bytes) {
    const size_t end = (offset + bytes - 1) >> cell_shift_;
    for (size_t cell = offset >> cell_shift_; cell <= end; ++cell) {
      const Write& write = writes_[cell];
      if (!readable(write, warp, lane)) [[unlikely]]
        refuse_read(warp, lane, offset, bytes, write);
      uint32_t& mark = reads_[warp * cells_ + cell];
      const uint32_t now = now_[warp] << kLaneBits | static_cast<uint32_t>(lane);
      const bool others = mark >> kLaneBits == now_[warp] && mark != now;
      mark = others ? now_[warp] << kLaneBits | kWholeWarp : now;
    }
  }

  /// `same_value`: the bytes written are those that the memory holds. Lanes of one instruction may
  /// write the same value to the same place.
  void write(int warp, int lane, size_t offset, size_t bytes, bool same_value) {
    const Write mine{now_[warp], static_cast<uint8_t>(warp), static_cast<uint8_t>(lane),
                     Kind::plain};
    access_for_write(mine, offset, bytes, same_value);
  }

  /// Atomics order nothing, but do not race with each other.
  void atomic(int warp, int lane, size_t offset, size_t bytes);

  void start_copy(int warp, int lane, size_t offset, size_t bytes) {
    const Write mine{kInFlight, static_cast<uint8_t>(warp), static_cast<uint8_t>(lane),
                     Kind::plain};
    access_for_write(mine, offset, bytes, false);
  }
  void land_copy(int warp, int lane, size_t offset, size_t bytes);

  /// All lanes of the warp have synchronised.
  void sync_warp(int warp);
  /// The warp arrives at a barrier: adds what it knows to `barrier`.
  void publish(int warp, Clock& barrier);
  /// The warp leaves a barrier that others arrived at.
  void acquire(int warp, const Clock& barrier);

 private:
  enum class Kind : uint8_t { plain, atomic };
  struct Write {
    uint32_t stamp = 0;
    uint8_t warp = 0;
    uint8_t lane = 0;
    Kind kind = Kind::plain;
  };
  static constexpr uint32_t kInFlight = ~0u;
  static constexpr int kLaneBits = 6;
  static constexpr uint32_t kMaxStamp = 1u << 25;

  bool ordered(const Write& write, int warp, int lane) const {
    return write.stamp <= clocks_[warp][write.warp] ||
           (write.warp == warp && write.lane == lane && write.stamp != kInFlight);
  }
  bool readable(const Write& write, int warp, int lane) const {
    return write.stamp > base_ && ordered(write, warp, lane);
  }
  void access_for_write(const Write& mine, size_t offset, size_t bytes, bool same_value);
  void check_reads(const Write& mine, size_t cell, size_t offset, size_t bytes) const;
  [[noreturn]] void refuse_read(int warp, int lane, size_t offset, size_t bytes,
                                const Write& write) const;
  [[noreturn]] void refuse_write(const Write& mine, size_t offset, size_t bytes,
                                 const Write& before) const;

  size_t cells_;
  int cell_shift_;
  int warps_;
  uint32_t base_ = 0;  // stamps up to here belong to earlier CTAs
  std::array<uint32_t, kMaxWarps> now_{};
  std::array<Clock, kMaxWarps> clocks_{};
  std::vector<Write> writes_;
  std::vector<uint32_t> reads_;  // [warp][cell]: stamp and lane, kWholeWarp when several lanes read
};

}  // namespace nvfp4::emulator
