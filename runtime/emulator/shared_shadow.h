// SPDX-License-Identifier: Apache-2.0
// Finds accesses to one CTA's shared memory that nothing orders (happens_before.h).
//
// Shared memory is divided into cells of the kernel's smallest access. A cell remembers its last
// write (who, when) and for each agent the last read (which lane, when). An access must come after
// the last write, and a write after all reads as well; the same thread always comes after itself.
// Lanes of one warp are different threads: running in lockstep orders nothing, and neither do shfl,
// ldmatrix or mma (PTX ISA, "Memory Consistency Model"); only bar.warp.sync and barriers do.
//
// cp.async is a write by its thread that begins when it is issued and ends at the thread's wait: in
// between the cell is in flight and any access to it is an error. A bulk copy is a write by its
// mbarrier's agent, which a thread comes after once it has seen the phase complete.
//
// Known limits: bar.warp.sync of a part of a warp counts as one of the whole warp; a flag in shared
// memory that warps spin on is not understood as synchronisation and is reported.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "runtime/emulator/fault.h"
#include "runtime/emulator/happens_before.h"

namespace nvfp4::emulator {

class SharedShadow {
 public:
  static constexpr int kWholeWarp = HappensBefore::kWholeWarp;

  /// How a cell was last written.
  enum class Kind : uint8_t { plain, atomic, copy, bulk, mbarrier };
  struct Write : Access {
    Kind kind = Kind::plain;
    friend bool operator==(const Write& a, const Write& b) {
      return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
    }
  };
  static_assert(sizeof(Write) == 8);

  /// `warps` of each CTA. Warps are named by their agents.
  SharedShadow(size_t shared_bytes, size_t cell_bytes, HappensBefore& order, int warps);

  /// Orders nothing any more: a new CTA on the same memory. `forget`: stamps start again.
  void start_block(bool forget);

  /// Reads by the lanes of one warp instruction.
  class Reader {
   public:
    Reader(SharedShadow& shadow, int warp)
        : shadow_(shadow),
          warp_(warp),
          stamp_(shadow.order_.now(warp)),
          seen_(shadow.order_.seen(warp).whole.data()),
          marks_(shadow.row(warp, stamp_)) {}

    void read(int lane, size_t offset, size_t bytes) {
      const uint32_t now = stamp_ << kLaneBits | static_cast<uint32_t>(lane);
      const size_t end = (offset + bytes - 1) >> shadow_.cell_shift_;
      for (size_t cell = offset >> shadow_.cell_shift_; cell <= end; ++cell) {
        const Write& write = shadow_.writes_[cell];
        if (write.stamp <= shadow_.base_ || write.stamp > seen_[write.agent]) [[unlikely]]
          shadow_.check_read(warp_, lane, offset, bytes, write);
        uint32_t& mark = marks_[cell];
        const bool others = mark >> kLaneBits == stamp_ && mark != now;
        mark = others ? stamp_ << kLaneBits | kWholeWarp : now;
      }
    }

   private:
    SharedShadow& shadow_;
    const int warp_;
    const uint32_t stamp_;
    const uint32_t* const seen_;
    uint32_t* const marks_;
  };

  /// `same_value`: the bytes written are those that the memory holds. Lanes of one instruction may
  /// write the same value to the same place.
  void write(int warp, int lane, size_t offset, size_t bytes, bool same_value);

  /// Atomics order nothing, but do not race with each other.
  void atomic(int warp, int lane, size_t offset, size_t bytes);

  void start_copy(int warp, int lane, size_t offset, size_t bytes);
  void land_copy(int warp, int lane, size_t offset, size_t bytes);

  /// The copy lands in an mbarrier's phase.
  void attach_copy(const Access& phase, size_t offset, size_t bytes);

  /// Of the async proxy, on behalf of a thread: a write in the name of `mine`, and a read that
  /// lasts until end_bulk_read.
  void bulk_write(int warp, int lane, const Access& mine, size_t offset, size_t bytes);
  void start_bulk_read(int warp, int lane, size_t offset, size_t bytes);
  void end_bulk_read(int warp, int lane, size_t offset, size_t bytes);

  /// Whether all of it has been written since the block began.
  bool written(size_t offset, size_t bytes) const {
    const size_t end = (offset + bytes - 1) >> cell_shift_;
    for (size_t cell = offset >> cell_shift_; cell <= end; ++cell) {
      if (writes_[cell].stamp <= base_) return false;
    }
    return true;
  }

  /// Marks an asynchronous read by `reader`, and adds the writes found there, each once, to `found`
  /// for the threads that started it to be checked with check_async_read.
  void read_async(const Access& reader, size_t offset, size_t bytes, std::vector<Write>& found) {
    uint32_t* marks = row(reader.agent, reader.stamp);
    const uint32_t mark = reader.stamp << kLaneBits | kWholeWarp;
    const size_t end = (offset + bytes - 1) >> cell_shift_;
    for (size_t cell = offset >> cell_shift_; cell <= end; ++cell) {
      if (found.empty() || !(writes_[cell] == found.back())) [[unlikely]]
        note(writes_[cell], found);
      marks[cell] = mark;
    }
  }
  void check_async_read(int warp, int lane, size_t offset, size_t bytes, const Write& write) const;

  /// Cells that hold an mbarrier belong to it: every other access is an error.
  void claim(size_t offset, size_t bytes, int agent);
  void end_claim(int warp, int lane, size_t offset, size_t bytes);

  std::string thread_name(int warp, int lane) const;

 private:
  static constexpr int kLaneBits = 6;

  uint32_t* row(int agent, uint32_t stamp) {
    if (agent >= static_cast<int>(rows_.size())) [[unlikely]]
      rows_.resize(agent + 1);
    Row& row = rows_[agent];
    if (row.marks.empty()) [[unlikely]]
      row.marks.resize(cells_);
    row.latest = std::max(row.latest, stamp);
    return row.marks.data();
  }
  static void note(const Write& write, std::vector<Write>& found);
  void check_read(int warp, int lane, size_t offset, size_t bytes, const Write& write) const;
  void access_for_write(int warp, int lane, const Write& mine, size_t offset, size_t bytes,
                        bool same_value);
  void check_reads(int warp, int lane, const Write& mine, size_t offset, size_t bytes) const;
  void refuse_over_read(int warp, int lane, const Write& mine, size_t offset, size_t bytes,
                        int agent, uint32_t mark) const;
  [[noreturn]] void refuse_read(int lane, size_t offset, size_t bytes, const Write& write,
                                bool own) const;
  [[noreturn]] void refuse_write(int lane, const Write& mine, size_t offset, size_t bytes,
                                 const Write& before) const;
  [[noreturn]] void refuse_unfenced(int lane, const char* action, size_t offset, size_t bytes,
                                    const Write& before) const;
  std::string unseen_phase(const Write& write) const;

  // Reads by one agent: [cell] stamp and lane, kWholeWarp when several lanes read. Rows of agents
  // that never read (most CTAs' peers) take no memory.
  struct Row {
    std::vector<uint32_t> marks;
    uint32_t latest = 0;
  };

  HappensBefore& order_;
  size_t cells_;
  int cell_shift_;
  int warps_;
  uint32_t base_ = 0;  // stamps up to here belong to earlier CTAs
  std::vector<Write> writes_;
  std::vector<Row> rows_;
  std::vector<std::pair<size_t, size_t>> claims_;  // first cell and last
};

}  // namespace nvfp4::emulator
