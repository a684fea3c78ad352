// SPDX-License-Identifier: Apache-2.0
// Writes, clocks and the wording of reports; reads are inlined from the header.
#include "runtime/emulator/shared_shadow.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace nvfp4::emulator {
namespace {

std::string place(size_t offset, size_t bytes) {
  return fmt::format("{} bytes at shared+{:#x}", bytes, offset);
}

std::string thread_name(int warp, int lane) { return fmt::format("thread {}", warp * 32 + lane); }

int reported_lane(int lane) { return lane == SharedShadow::kWholeWarp ? 0 : lane; }

}  // namespace

SharedShadow::SharedShadow(size_t shared_bytes, size_t cell_bytes, int warps)
    : cells_((shared_bytes + cell_bytes - 1) / cell_bytes),
      cell_shift_(std::countr_zero(cell_bytes)),
      warps_(warps),
      writes_(cells_),
      reads_(cells_ * warps) {
  start_block();
}

void SharedShadow::start_block() {
  base_ = *std::max_element(now_.begin(), now_.end());
  if (base_ >= kMaxStamp / 2) {
    base_ = 0;
    std::fill(writes_.begin(), writes_.end(), Write{});
    std::fill(reads_.begin(), reads_.end(), 0);
  }
  now_.fill(base_ + 1);
  for (Clock& clock : clocks_) clock.fill(base_);
}

void SharedShadow::sync_warp(int warp) {
  clocks_[warp][warp] = now_[warp];
  if (++now_[warp] >= kMaxStamp) {
    throw Violation{FaultKind::instruction_limit, 0,
                    "more synchronisations in one block than the checker counts"};
  }
}

void SharedShadow::publish(int warp, Clock& barrier) {
  sync_warp(warp);
  for (int w = 0; w < kMaxWarps; ++w) barrier[w] = std::max(barrier[w], clocks_[warp][w]);
}

void SharedShadow::acquire(int warp, const Clock& barrier) {
  for (int w = 0; w < kMaxWarps; ++w) clocks_[warp][w] = std::max(clocks_[warp][w], barrier[w]);
}

void SharedShadow::access_for_write(const Write& mine, size_t offset, size_t bytes,
                                    bool same_value) {
  const size_t end = (offset + bytes - 1) >> cell_shift_;
  for (size_t cell = offset >> cell_shift_; cell <= end; ++cell) {
    Write& before = writes_[cell];
    if (!ordered(before, mine.warp, mine.lane)) [[unlikely]] {
      const bool harmless = same_value && before.warp == mine.warp && before.stamp == mine.stamp;
      if (!harmless) refuse_write(mine, offset, bytes, before);
    }
    check_reads(mine, cell, offset, bytes);
    before = mine;
  }
}

void SharedShadow::check_reads(const Write& mine, size_t cell, size_t offset, size_t bytes) const {
  const Clock& clock = clocks_[mine.warp];
  for (int warp = 0; warp < warps_; ++warp) {
    const uint32_t read = reads_[warp * cells_ + cell];
    if (read >> kLaneBits <= clock[warp]) continue;
    const int lane = static_cast<int>(read & ((1u << kLaneBits) - 1));
    if (warp == mine.warp && lane == mine.lane) continue;
    const std::string reader = lane == kWholeWarp ? fmt::format("several threads of warp {}", warp)
                                                  : thread_name(warp, lane);
    throw Violation{FaultKind::shared_race, reported_lane(mine.lane),
                    fmt::format("{} {} that {} reads, and nothing orders the read before it",
                                mine.stamp == kInFlight ? "starts a cp.async over" : "writes",
                                place(offset, bytes), reader)};
  }
}

void SharedShadow::atomic(int warp, int lane, size_t offset, size_t bytes) {
  const size_t end = (offset + bytes - 1) >> cell_shift_;
  const Write mine{now_[warp], static_cast<uint8_t>(warp), static_cast<uint8_t>(lane),
                   Kind::atomic};
  for (size_t cell = offset >> cell_shift_; cell <= end; ++cell) {
    Write& before = writes_[cell];
    const bool both_atomic = before.kind == Kind::atomic && before.stamp > base_;
    if (!both_atomic && !readable(before, warp, lane))
      refuse_read(warp, lane, offset, bytes, before);
    check_reads(mine, cell, offset, bytes);
    before = mine;
  }
}

void SharedShadow::land_copy(int warp, int lane, size_t offset, size_t bytes) {
  const size_t end = (offset + bytes - 1) >> cell_shift_;
  for (size_t cell = offset >> cell_shift_; cell <= end; ++cell) {
    writes_[cell] = {now_[warp], static_cast<uint8_t>(warp), static_cast<uint8_t>(lane),
                     Kind::plain};
  }
}

void SharedShadow::refuse_read(int warp, int lane, size_t offset, size_t bytes,
                               const Write& write) const {
  const std::string what = "reads " + place(offset, bytes);
  if (write.stamp == kInFlight) {
    const bool own = write.warp == warp && write.lane == lane;
    throw Violation{FaultKind::async_read_before_wait, reported_lane(lane),
                    fmt::format("{} before {} has waited for the cp.async that fills them", what,
                                own ? "it" : thread_name(write.warp, write.lane))};
  }
  if (write.stamp <= base_) {
    throw Violation{FaultKind::uninitialised_read, reported_lane(lane),
                    what + " that were never written"};
  }
  throw Violation{FaultKind::shared_race, reported_lane(lane),
                  fmt::format("{} that {} writes, and nothing orders the write before it", what,
                              thread_name(write.warp, write.lane))};
}

void SharedShadow::refuse_write(const Write& mine, size_t offset, size_t bytes,
                                const Write& before) const {
  const char* action = mine.stamp == kInFlight ? "starts a cp.async over" : "writes";
  const std::string other = thread_name(before.warp, before.lane);
  throw Violation{FaultKind::shared_race, reported_lane(mine.lane),
                  before.stamp == kInFlight
                      ? fmt::format("{} {} that a cp.async of {} is still filling", action,
                                    place(offset, bytes), other)
                      : fmt::format("{} {} that {} writes, and nothing orders the two", action,
                                    place(offset, bytes), other)};
}

}  // namespace nvfp4::emulator
