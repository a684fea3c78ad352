// SPDX-License-Identifier: Apache-2.0
// Liveness by the usual backward data flow, then a linear scan over live intervals.
//
// One thread's liveness is enough although 32 lanes share the code: an instruction writes the lanes
// that execute it, so a register that is dead on one side of a branch may hold something else there
// while the lanes on the other side keep their own values.
//
// The registers of wgmma are an exception: they are in use beyond the instruction that names them,
// so each has a slot of its own, at the start of the file, where accesses to them are told apart.
#include "runtime/emulator/register_allocation.h"

#include <algorithm>
#include <queue>
#include <unordered_map>

#include "runtime/emulator/control_flow.h"

namespace nvfp4::emulator {
namespace {

bool is_register(Slot slot) { return slot != kNoSlot && (slot & kConstantSlot) == 0; }

using Bits = std::vector<uint64_t>;
bool test(const Bits& bits, int i) { return bits[i / 64] >> (i % 64) & 1; }
void set(Bits& bits, int i) { bits[i / 64] |= uint64_t{1} << (i % 64); }

struct Interval {
  int begin = INT32_MAX;
  int end = -1;
  void cover(int position) {
    begin = std::min(begin, position);
    end = std::max(end, position);
  }
};

class Liveness {
 public:
  explicit Liveness(const Function& function)
      : function_(function), blocks_(basic_blocks(function)) {
    for (const Preload& preload : function.preloads) number(preload.slot);
    for (const Instruction& i : function.code) {
      for (int k = 0; k < i.operands; ++k) number(i.operand[k]);
      for (const Slot slot : list(i)) number(slot);
      number(i.guard);
    }
    solve();
    collect();
  }

  const std::unordered_map<Slot, int>& numbers() const { return numbers_; }
  const std::vector<Interval>& intervals() const { return intervals_; }

 private:
  const std::vector<Slot>& list(const Instruction& i) const {
    static const auto& none = *new std::vector<Slot>;
    return i.list < 0 ? none : function_.operand_lists[i.list];
  }

  void number(Slot slot) {
    if (is_register(slot)) numbers_.try_emplace(slot, static_cast<int>(numbers_.size()));
  }

  template <class Use, class Define>
  void visit(const Instruction& i, Use&& use, Define&& define) const {
    for (int k = 0; k < i.destinations; ++k) {
      // A guarded write may leave the old value, so it does not end that value's life.
      if (is_register(i.operand[k])) define(numbers_.at(i.operand[k]), i.guard != kNoSlot);
    }
    for (int k = i.destinations; k < i.operands; ++k) {
      if (is_register(i.operand[k])) use(numbers_.at(i.operand[k]));
    }
    for (const Slot slot : list(i)) use(numbers_.at(slot));
    if (is_register(i.guard)) use(numbers_.at(i.guard));
  }

  void solve() {
    const size_t words = (numbers_.size() + 63) / 64;
    std::vector<Bits> used(blocks_.size(), Bits(words));  // before any definition
    std::vector<Bits> defined(blocks_.size(), Bits(words));
    for (size_t b = 0; b < blocks_.size(); ++b) {
      for (int pc = blocks_[b].end - 1; pc >= blocks_[b].begin; --pc) {
        std::vector<int> uses;
        visit(
            function_.code[pc], [&](int r) { uses.push_back(r); },
            [&](int r, bool partial) {
              if (partial) return uses.push_back(r);
              set(defined[b], r);
              used[b][r / 64] &= ~(uint64_t{1} << (r % 64));
            });
        for (int r : uses) set(used[b], r);
      }
    }
    live_in_.assign(blocks_.size(), Bits(words));
    live_out_ = live_in_;
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t b = blocks_.size(); b-- > 0;) {
        for (size_t w = 0; w < words; ++w) {
          uint64_t out = 0;
          for (int next : blocks_[b].successors) out |= live_in_[next][w];
          const uint64_t in = used[b][w] | (out & ~defined[b][w]);
          changed |= in != live_in_[b][w];
          live_out_[b][w] = out;
          live_in_[b][w] = in;
        }
      }
    }
  }

  void collect() {
    intervals_.resize(numbers_.size());
    for (const Preload& preload : function_.preloads)
      intervals_[numbers_.at(preload.slot)].cover(-1);
    for (size_t b = 0; b < blocks_.size(); ++b) {
      for (int r = 0; r < static_cast<int>(numbers_.size()); ++r) {
        if (test(live_in_[b], r)) intervals_[r].cover(blocks_[b].begin);
        if (test(live_out_[b], r)) intervals_[r].cover(blocks_[b].end);
      }
      for (int pc = blocks_[b].begin; pc < blocks_[b].end; ++pc) {
        const auto touch = [&](int r) { intervals_[r].cover(pc); };
        visit(function_.code[pc], touch, [&](int r, bool) { touch(r); });
      }
    }
  }

  const Function& function_;
  std::vector<BasicBlock> blocks_;
  std::unordered_map<Slot, int> numbers_;
  std::vector<Bits> live_in_;
  std::vector<Bits> live_out_;
  std::vector<Interval> intervals_;
};

// All that a wgmma accumulates in or takes A from.
std::vector<Slot> wgmma_registers(const Function& function) {
  std::vector<Slot> slots;
  for (const Instruction& i : function.code) {
    if (i.list < 0) continue;
    const std::vector<Slot>& sums = function.operand_lists[i.list];
    slots.insert(slots.end(), sums.begin(), sums.end());
    for (int k = 0; k < 4; ++k) {
      if (is_register(i.operand[k]) && (i.operand[k] & kWideSlot) == 0)
        slots.push_back(i.operand[k]);
    }
  }
  return slots;
}

}  // namespace

void allocate_registers(Function& function) {
  const Liveness liveness(function);
  std::vector<Slot> slots;
  for (const auto& [slot, number] : liveness.numbers()) slots.push_back(slot);
  const auto number = [&](Slot slot) { return liveness.numbers().at(slot); };
  const auto interval = [&](Slot slot) { return liveness.intervals()[number(slot)]; };
  std::sort(slots.begin(), slots.end(), [&](Slot a, Slot b) {
    return std::pair(interval(a).begin, a) < std::pair(interval(b).begin, b);
  });

  std::vector<Slot> assigned(slots.size(), kNoSlot);
  size_t bytes = 0;
  for (const Slot slot : wgmma_registers(function)) {
    Slot& own = assigned[number(slot)];
    if (own != kNoSlot) continue;
    own = static_cast<Slot>(bytes);
    bytes += 4 * kWarpLanes;
  }
  function.wgmma_bytes = bytes;

  using Ending = std::pair<int, Slot>;  // (last position, new slot)
  std::priority_queue<Ending, std::vector<Ending>, std::greater<>> busy[2];
  std::vector<Slot> unused[2];
  for (const Slot slot : slots) {
    const int r = number(slot);
    if (assigned[r] != kNoSlot) continue;
    const int width = (slot & kWideSlot) != 0 ? 1 : 0;
    while (!busy[width].empty() && busy[width].top().first < interval(slot).begin) {
      unused[width].push_back(busy[width].top().second);
      busy[width].pop();
    }
    if (unused[width].empty()) {
      unused[width].push_back(static_cast<Slot>(bytes) | (slot & kWideSlot));
      bytes += (width == 1 ? 8 : 4) * kWarpLanes;
    }
    assigned[r] = unused[width].back();
    unused[width].pop_back();
    busy[width].emplace(interval(slot).end, assigned[r]);
  }

  for (Instruction& i : function.code) {
    for (int k = 0; k < i.operands; ++k) {
      if (is_register(i.operand[k])) i.operand[k] = assigned[number(i.operand[k])];
    }
    if (is_register(i.guard)) i.guard = assigned[number(i.guard)];
    for (int k = 0; k < i.operands && i.list < 0; ++k)
      i.touches_wgmma |=
          is_register(i.operand[k]) && (i.operand[k] & kSlotOffset) < function.wgmma_bytes;
  }
  for (auto& list : function.operand_lists) {
    for (Slot& slot : list) slot = assigned[number(slot)];
  }
  for (Preload& preload : function.preloads) preload.slot = assigned[number(preload.slot)];
  function.register_bytes = bytes;
}

}  // namespace nvfp4::emulator
