// SPDX-License-Identifier: Apache-2.0
#include "runtime/emulator/happens_before.h"

#include <algorithm>
#include <limits>

#include "runtime/emulator/fault.h"

namespace nvfp4::emulator {
namespace {

constexpr uint32_t kAll = ~0u;

[[noreturn]] void too_many() {
  throw Violation{FaultKind::instruction_limit, 0,
                  "more synchronisations in one block than the checker counts"};
}

void join_part(HappensBefore::View& view, size_t warp, HappensBefore::View::Part other) {
  HappensBefore::View::Part& mine = view.part[warp];
  // Two halves of a warp that published in turn are the whole warp as of the earlier one.
  if ((mine.lanes | other.lanes) == kAll && mine.lanes != other.lanes)
    view.whole[warp] = std::max(view.whole[warp], std::min(mine.stamp, other.stamp));
  if (other.stamp > mine.stamp) mine = other;
}

}  // namespace

bool HappensBefore::View::covers(const Access& access) const {
  if (access.agent < whole.size() && access.stamp <= whole[access.agent]) return true;
  if (access.agent >= part.size() || access.lane == kWholeWarp) return false;
  const Part& some = part[access.agent];
  return access.stamp <= some.stamp && (some.lanes >> access.lane & 1) != 0;
}

void HappensBefore::View::join(const View& other) {
  if (whole.size() < other.whole.size()) whole.resize(other.whole.size());
  for (size_t i = 0; i < other.whole.size(); ++i) whole[i] = std::max(whole[i], other.whole[i]);
  if (part.size() < other.part.size()) part.resize(other.part.size());
  for (size_t w = 0; w < other.part.size(); ++w) {
    if (other.part[w].lanes != 0) join_part(*this, w, other.part[w]);
  }
}

HappensBefore::HappensBefore(int warps, int warpgroups)
    : fixed_(warps + warpgroups + warps),
      agents_(fixed_),
      now_(fixed_),
      warps_(warps),
      held_(warps) {
  start();
}

bool HappensBefore::start() {
  base_ = *std::max_element(now_.begin(), now_.end());
  const bool again = base_ >= kMaxStamp / 2;
  if (again) base_ = 0;
  std::fill(now_.begin(), now_.end(), base_ + 1);
  agents_ = fixed_;
  offsets_.clear();
  fenced_inits_.assign(warps_.size(), base_);
  for (Knowledge& warp : warps_) {
    for (View* view : {&warp.seen, &warp.fenced, &warp.done}) {
      view->whole.assign(now_.size(), base_);
      view->part.assign(warps_.size(), {});
    }
  }
  for (auto& held : held_) held.clear();
  return again;
}

int HappensBefore::add_agent(uint32_t offset) {
  const int agent = agents_++;
  if (agent > std::numeric_limits<uint16_t>::max()) too_many();
  offsets_.push_back(offset);
  if (agent < static_cast<int>(now_.size())) return agent;
  now_.push_back(base_ + 1);
  for (Knowledge& warp : warps_) {
    for (View* view : {&warp.seen, &warp.fenced, &warp.done}) view->whole.push_back(base_);
  }
  return agent;
}

void HappensBefore::tick(int agent) {
  if (++now_[agent] >= kMaxStamp) too_many();
}

template <class Body>
bool HappensBefore::any_view(int warp, int lane, Body&& body) const {
  if (body(warps_[warp])) return true;
  for (const Held& held : held_[warp]) {
    if (lane != kWholeWarp && (held.lanes >> lane & 1) != 0 && body(held.knowledge)) return true;
  }
  return false;
}

bool HappensBefore::ordered(int warp, int lane, const Access& before) const {
  if (before.stamp <= base_) return true;
  if (before.agent == warp && before.lane == lane && before.stamp < kNever) return true;
  return any_view(warp, lane, [&](const Knowledge& k) { return k.seen.covers(before); });
}

bool HappensBefore::fenced(int warp, int lane, const Access& before) const {
  if (before.stamp <= base_) return true;
  return any_view(warp, lane, [&](const Knowledge& k) { return k.fenced.covers(before); });
}

bool HappensBefore::done(int warp, int lane, const Access& before) const {
  if (before.agent == warp && before.lane == lane && before.stamp < kNever) return true;
  return any_view(warp, lane, [&](const Knowledge& k) { return k.done.covers(before); });
}

uint32_t HappensBefore::latest(int warp, int lane, int agent, View Knowledge::*view) const {
  uint32_t stamp = base_;
  any_view(warp, lane, [&](const Knowledge& k) {
    const std::vector<uint32_t>& whole = (k.*view).whole;
    if (agent < static_cast<int>(whole.size())) stamp = std::max(stamp, whole[agent]);
    return false;
  });
  return stamp;
}

void HappensBefore::sync_warp(int warp) {
  Knowledge& all = warps_[warp];
  for (const Held& held : held_[warp]) all.join(held.knowledge);
  held_[warp].clear();
  all.seen.whole[warp] = all.done.whole[warp] = now_[warp];
  tick(warp);
}

void HappensBefore::publish_relaxed(int warp, Knowledge& into) {
  Knowledge& all = warps_[warp];
  for (const Held& held : held_[warp]) into.done.join(held.knowledge.done);
  into.done.join(all.done);
  into.done.whole[warp] = now_[warp];
  into.fenced.join(all.fenced);
  tick(warp);
  const int init = initialiser(warp);
  if (into.seen.whole.size() < now_.size()) into.seen.whole.resize(now_.size());
  into.seen.whole[init] = std::max(into.seen.whole[init], fenced_inits_[warp]);
}

Access HappensBefore::initialise(int warp, int lane, uint32_t live) {
  const int agent = initialiser(warp);
  const Access access{now_[agent], static_cast<uint16_t>(agent), static_cast<uint8_t>(lane)};
  Knowledge& own = held_by(warp, 1u << lane, live);
  if (own.seen.whole.size() < now_.size()) own.seen.whole.resize(now_.size());
  own.seen.whole[agent] = access.stamp;
  tick(agent);
  return access;
}

HappensBefore::Knowledge& HappensBefore::held_by(int warp, uint32_t lanes, uint32_t live) {
  if (lanes == live) return warps_[warp];
  for (Held& held : held_[warp]) {
    if (held.lanes == lanes) return held.knowledge;
  }
  return held_[warp].emplace_back(Held{lanes, {}}).knowledge;
}

void HappensBefore::publish(int warp, uint32_t lanes, uint32_t live, Knowledge& into) {
  if (lanes == live) {
    sync_warp(warp);
    return into.join(warps_[warp]);
  }
  into.join(warps_[warp]);
  for (const Held& held : held_[warp]) {
    if ((held.lanes & lanes) == lanes) into.join(held.knowledge);
  }
  for (View* view : {&into.seen, &into.done}) {
    if (view->whole.size() < now_.size()) view->whole.resize(now_.size());
    if (view->part.size() < warps_.size()) view->part.resize(warps_.size());
    join_part(*view, warp, {now_[warp], lanes});
  }
  tick(warp);
}

void HappensBefore::acquire(int warp, uint32_t lanes, uint32_t live, const Knowledge& from) {
  held_by(warp, lanes, live).join(from);
}

void HappensBefore::fence_proxy(int warp, uint32_t lanes, uint32_t live) {
  Knowledge& mine = held_by(warp, lanes, live);
  mine.fenced.join(warps_[warp].seen);
  for (const Held& held : held_[warp]) {
    if ((held.lanes & lanes) == lanes) mine.fenced.join(held.knowledge.seen);
  }
  mine.fenced.whole.resize(std::max(mine.fenced.whole.size(), now_.size()));
  mine.fenced.whole[initialiser(warp)] = now_[initialiser(warp)] - 1;
  if (lanes == live) {
    mine.fenced.whole[warp] = now_[warp];
  } else {
    if (mine.fenced.part.size() < warps_.size()) mine.fenced.part.resize(warps_.size());
    join_part(mine.fenced, warp, {now_[warp], lanes});
  }
  tick(warp);
}

void HappensBefore::complete_wgmma(int warp, int warpgroup, uint32_t stamp, uint32_t own) {
  for (View* view : {&warps_[warp].seen, &warps_[warp].done}) {
    view->whole[warpgroup] = std::max(view->whole[warpgroup], stamp);
    view->whole[warp] = std::max(view->whole[warp], own);
  }
}

}  // namespace nvfp4::emulator
