// SPDX-License-Identifier: Apache-2.0
// Writes, asynchronous accesses and the wording of reports; reads are inlined from the header.
#include "runtime/emulator/shared_shadow.h"

#include <fmt/format.h>

#include <algorithm>

namespace nvfp4::emulator {
namespace {

using Kind = SharedShadow::Kind;

constexpr uint32_t kNever = HappensBefore::kNever;

std::string place(size_t offset, size_t bytes) {
  return fmt::format("{} bytes at shared+{:#x}", bytes, offset);
}

int reported_lane(int lane) { return lane == SharedShadow::kWholeWarp ? 0 : lane; }

SharedShadow::Write make_write(uint32_t stamp, int warp, int lane, Kind kind) {
  SharedShadow::Write write;
  write.stamp = stamp;
  write.agent = static_cast<uint16_t>(warp);
  write.lane = static_cast<uint8_t>(lane);
  write.kind = kind;
  return write;
}

const char* copy_name(const SharedShadow::Write& write) {
  return write.kind == Kind::bulk ? "bulk copy" : "cp.async";
}

const char* action(const SharedShadow::Write& mine) {
  if (mine.kind == Kind::bulk) return "starts a bulk copy over";
  return mine.kind == Kind::copy ? "starts a cp.async over" : "writes";
}

}  // namespace

SharedShadow::SharedShadow(size_t shared_bytes, size_t cell_bytes, HappensBefore& order, int warps)
    : order_(order),
      cells_((shared_bytes + cell_bytes - 1) / cell_bytes),
      cell_shift_(std::countr_zero(cell_bytes)),
      warps_(warps),
      writes_(cells_) {}

void SharedShadow::start_block(bool forget) {
  base_ = order_.base();
  for (Row& row : rows_) {
    if (forget) std::fill(row.marks.begin(), row.marks.end(), 0);
    row.latest = 0;
  }
  if (forget) std::fill(writes_.begin(), writes_.end(), Write{});
  for (const auto& [first, last] : claims_)
    std::fill(writes_.begin() + first, writes_.begin() + last + 1, Write{});
  claims_.clear();
}

std::string SharedShadow::thread_name(int warp, int lane) const {
  const int thread = warp % warps_ * 32 + lane;
  const std::string name =
      lane == kWholeWarp ? fmt::format("warp {}", warp % warps_) : fmt::format("thread {}", thread);
  if (order_.warps() == warps_) return name;
  return fmt::format("{} of CTA {} of the cluster", name, warp / warps_);
}

std::string SharedShadow::unseen_phase(const Write& write) const {
  return fmt::format("phase {} of the mbarrier at shared+{:#x}", write.stamp - base_ - 1,
                     order_.offset_of(write.agent));
}

void SharedShadow::note(const Write& write, std::vector<Write>& found) {
  const auto same = std::find(found.begin(), found.end(), write);
  if (same == found.end()) {
    found.push_back(write);
  } else {
    std::swap(*same, found.back());
  }
}

void SharedShadow::check_read(int warp, int lane, size_t offset, size_t bytes,
                              const Write& write) const {
  if (write.stamp > base_ && order_.ordered(warp, lane, write)) return;
  refuse_read(lane, offset, bytes, write, write.agent == warp && write.lane == lane);
}

void SharedShadow::check_async_read(int warp, int lane, size_t offset, size_t bytes,
                                    const Write& write) const {
  if (write.kind != Kind::bulk && write.stamp > base_ && order_.fenced(warp, lane, write)) return;
  check_read(warp, lane, offset, bytes, write);
  if (write.kind != Kind::bulk)
    refuse_unfenced(lane, "starts an asynchronous read of", offset, bytes, write);
}

void SharedShadow::write(int warp, int lane, size_t offset, size_t bytes, bool same_value) {
  access_for_write(warp, lane, make_write(order_.now(warp), warp, lane, Kind::plain), offset, bytes,
                   same_value);
}

void SharedShadow::start_copy(int warp, int lane, size_t offset, size_t bytes) {
  access_for_write(warp, lane, make_write(kNever, warp, lane, Kind::copy), offset, bytes, false);
}

void SharedShadow::bulk_write(int warp, int lane, const Access& mine, size_t offset, size_t bytes) {
  access_for_write(warp, lane, make_write(mine.stamp, mine.agent, mine.lane, Kind::bulk), offset,
                   bytes, false);
}

void SharedShadow::access_for_write(int warp, int lane, const Write& mine, size_t offset,
                                    size_t bytes, bool same_value) {
  check_reads(warp, lane, mine, offset, bytes);
  const std::vector<uint32_t>& seen = order_.seen(warp).whole;
  const size_t end = (offset + bytes - 1) >> cell_shift_;
  Write checked;  // a bulk copy's cells mostly share their last write
  for (size_t cell = offset >> cell_shift_; cell <= end; ++cell) {
    const Write before = writes_[cell];
    writes_[cell] = mine;
    if (before == checked) continue;
    const bool generic_before_bulk = mine.kind == Kind::bulk && before.kind != Kind::bulk;
    const bool fenced = generic_before_bulk && order_.fenced(warp, lane, before);
    if (before.stamp > seen[before.agent] && !fenced && !order_.ordered(warp, lane, before))
        [[unlikely]] {
      const bool harmless = same_value && before.agent == mine.agent && before.stamp == mine.stamp;
      if (!harmless) refuse_write(lane, mine, offset, bytes, before);
    }
    if (generic_before_bulk && !fenced) refuse_unfenced(lane, action(mine), offset, bytes, before);
    checked = before;
  }
}

void SharedShadow::check_reads(int warp, int lane, const Write& mine, size_t offset,
                               size_t bytes) const {
  const size_t begin = offset >> cell_shift_;
  const size_t end = ((offset + bytes - 1) >> cell_shift_) + 1;
  for (size_t agent = 0; agent < rows_.size(); ++agent) {
    const Row& row = rows_[agent];
    if (row.latest <= base_ || row.latest <= order_.done(warp).whole[agent]) continue;
    const uint32_t done = order_.done_stamp(warp, lane, static_cast<int>(agent));
    uint32_t newest = 0;
    for (size_t cell = begin; cell < end; ++cell) newest = std::max(newest, row.marks[cell]);
    if (newest >> kLaneBits <= done) continue;
    for (size_t cell = begin; cell < end; ++cell) {
      const uint32_t mark = row.marks[cell];
      if (mark >> kLaneBits > done)
        refuse_over_read(warp, lane, mine, offset, bytes, static_cast<int>(agent), mark);
    }
  }
}

// Refuses unless the read that `mark` stands for comes before the write after all.
void SharedShadow::refuse_over_read(int warp, int lane, const Write& mine, size_t offset,
                                    size_t bytes, int agent, uint32_t mark) const {
  const int reader = static_cast<int>(mark & ((1u << kLaneBits) - 1));
  const Access read{mark >> kLaneBits, static_cast<uint16_t>(agent), static_cast<uint8_t>(reader)};
  if (order_.done(warp, lane, read)) return;
  const bool asynchronous = read.stamp >= kNever;
  std::string who = asynchronous ? "a bulk copy of " : "";
  if (agent >= order_.warps()) {
    who = agent < order_.fixed() ? "a wgmma" : "a bulk copy";
  } else {
    who += reader == kWholeWarp ? fmt::format("several threads of warp {}", agent % warps_)
                                : thread_name(agent, reader);
  }
  throw Violation{FaultKind::shared_race, reported_lane(lane),
                  fmt::format("{} {} that {} reads, and nothing orders the read before it",
                              action(mine), place(offset, bytes), who)};
}

void SharedShadow::atomic(int warp, int lane, size_t offset, size_t bytes) {
  const size_t end = (offset + bytes - 1) >> cell_shift_;
  const Write mine = make_write(order_.now(warp), warp, lane, Kind::atomic);
  check_reads(warp, lane, mine, offset, bytes);
  for (size_t cell = offset >> cell_shift_; cell <= end; ++cell) {
    Write& before = writes_[cell];
    const bool both_atomic = before.kind == Kind::atomic && before.stamp > base_;
    if (!both_atomic) check_read(warp, lane, offset, bytes, before);
    before = mine;
  }
}

void SharedShadow::land_copy(int warp, int lane, size_t offset, size_t bytes) {
  const size_t end = (offset + bytes - 1) >> cell_shift_;
  for (size_t cell = offset >> cell_shift_; cell <= end; ++cell)
    writes_[cell] = make_write(order_.now(warp), warp, lane, Kind::plain);
}

void SharedShadow::attach_copy(const Access& phase, size_t offset, size_t bytes) {
  const size_t end = (offset + bytes - 1) >> cell_shift_;
  for (size_t cell = offset >> cell_shift_; cell <= end; ++cell)
    writes_[cell] = make_write(phase.stamp, phase.agent, phase.lane, Kind::copy);
}

void SharedShadow::start_bulk_read(int warp, int lane, size_t offset, size_t bytes) {
  std::vector<Write> found;
  const Access reader{kNever, static_cast<uint16_t>(warp), static_cast<uint8_t>(lane)};
  uint32_t* marks = row(warp, kNever);
  const size_t end = (offset + bytes - 1) >> cell_shift_;
  for (size_t cell = offset >> cell_shift_; cell <= end; ++cell) {
    if (found.empty() || !(writes_[cell] == found.back())) note(writes_[cell], found);
    marks[cell] = reader.stamp << kLaneBits | static_cast<uint32_t>(lane);
  }
  for (const Write& write : found) check_async_read(warp, lane, offset, bytes, write);
}

void SharedShadow::end_bulk_read(int warp, int lane, size_t offset, size_t bytes) {
  const uint32_t stamp = order_.now(warp);
  uint32_t* marks = row(warp, kNever);  // others may still be in flight
  const size_t end = (offset + bytes - 1) >> cell_shift_;
  for (size_t cell = offset >> cell_shift_; cell <= end; ++cell)
    marks[cell] = stamp << kLaneBits | static_cast<uint32_t>(lane);
}

void SharedShadow::claim(size_t offset, size_t bytes, int agent) {
  const size_t end = (offset + bytes - 1) >> cell_shift_;
  for (size_t cell = offset >> cell_shift_; cell <= end; ++cell)
    writes_[cell] = make_write(kNever, agent, 0, Kind::mbarrier);
  claims_.emplace_back(offset >> cell_shift_, end);
}

void SharedShadow::end_claim(int warp, int lane, size_t offset, size_t bytes) {
  land_copy(warp, lane, offset, bytes);
}

void SharedShadow::refuse_read(int lane, size_t offset, size_t bytes, const Write& write,
                               bool own) const {
  const std::string what = "reads " + place(offset, bytes);
  const auto refuse = [lane](FaultKind kind, std::string text) {
    throw Violation{kind, reported_lane(lane), std::move(text)};
  };
  if (write.stamp <= base_)
    refuse(FaultKind::uninitialised_read, what + " that were never written");
  if (write.kind == Kind::mbarrier)
    refuse(FaultKind::mbarrier_misuse, what + " that hold an mbarrier");
  if (write.agent >= order_.fixed()) {
    refuse(FaultKind::async_read_before_wait,
           fmt::format("{} that a {} fills, before it has seen {} complete", what, copy_name(write),
                       unseen_phase(write)));
  }
  if (write.kind == Kind::copy) {
    refuse(FaultKind::async_read_before_wait,
           fmt::format("{} before {} has waited for the cp.async that fills them", what,
                       own ? "it" : thread_name(write.agent, write.lane)));
  }
  refuse(FaultKind::shared_race,
         fmt::format("{} that {} writes, and nothing orders the write before it", what,
                     thread_name(write.agent, write.lane)));
  __builtin_unreachable();
}

void SharedShadow::refuse_write(int lane, const Write& mine, size_t offset, size_t bytes,
                                const Write& before) const {
  const std::string what = fmt::format("{} {}", action(mine), place(offset, bytes));
  FaultKind kind = FaultKind::shared_race;
  std::string text;
  if (before.kind == Kind::mbarrier) {
    kind = FaultKind::mbarrier_misuse;
    text = what + " that hold an mbarrier";
  } else if (before.agent >= order_.fixed()) {
    text = fmt::format("{} that a {} fills, before it has seen {} complete", what,
                       copy_name(before), unseen_phase(before));
  } else if (before.kind == Kind::copy) {
    text = fmt::format("{} that a cp.async of {} is still filling", what,
                       thread_name(before.agent, before.lane));
  } else {
    text = fmt::format("{} that {} writes, and nothing orders the two", what,
                       thread_name(before.agent, before.lane));
  }
  throw Violation{kind, reported_lane(lane), std::move(text)};
}

void SharedShadow::refuse_unfenced(int lane, const char* what, size_t offset, size_t bytes,
                                   const Write& before) const {
  throw Violation{FaultKind::missing_proxy_fence, reported_lane(lane),
                  fmt::format("{} {} that {} has written, without a fence.proxy.async in between",
                              what, place(offset, bytes),
                              before.agent < order_.warps() ? thread_name(before.agent, before.lane)
                                                            : "a cp.async")};
}

}  // namespace nvfp4::emulator
