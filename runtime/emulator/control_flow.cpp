// SPDX-License-Identifier: Apache-2.0
// Immediate post-dominators by the iterative algorithm of Cooper, Harvey and Kennedy, on the
// reversed graph of basic blocks with one virtual exit.
//
// Compilers send every early return to one `ret` at the end. Taken literally, a lane that may
// return inside a nested `if` moves the meeting point of all enclosing branches to that `ret`, and
// the barriers in between would be met by parts of a warp. Lanes that leave do not come back, so
// edges to a bare `ret` are left out first; only where that leaves no path to the end (a loop left
// by returning) they count.
#include "runtime/emulator/control_flow.h"

#include <algorithm>
#include <iterator>

#include "runtime/emulator/control_opcodes.h"

namespace nvfp4::emulator {
namespace {

constexpr int kUnreachable = -1;

bool is_branch(const Instruction& i) {
  return i.execute == &execute_branch || i.execute == &execute_branch_table;
}
bool is_exit(const Instruction& i) { return i.execute == &execute_exit; }

std::vector<int> branch_targets(const Function& function, const Instruction& i) {
  if (i.execute == &execute_branch) return {i.target};
  return function.branch_tables[i.immediate];
}

// Nodes 0 .. n-1 are blocks, n is the exit.
class PostDominators {
 public:
  PostDominators(const std::vector<std::vector<int>>& successors, int exit)
      : successors_(successors),
        predecessors_(exit + 1),
        order_(exit + 1, kUnreachable),
        parent_(exit + 1, kUnreachable) {
    for (int node = 0; node < exit; ++node) {
      for (int next : successors[node]) predecessors_[next].push_back(node);
    }
    number_from(exit);
    parent_[exit] = exit;
    for (bool changed = true; changed;) {
      changed = false;
      for (auto node = reverse_postorder_.rbegin(); node != reverse_postorder_.rend(); ++node) {
        if (*node != exit) changed |= update(*node);
      }
    }
  }

  int immediate(int node) const { return parent_[node]; }

 private:
  // Postorder numbers of a walk against the edges.
  void number_from(int exit) {
    std::vector<std::pair<int, size_t>> stack{{exit, 0}};
    std::vector<bool> seen(order_.size());
    seen[exit] = true;
    while (!stack.empty()) {
      auto& [node, next] = stack.back();
      if (next < predecessors_[node].size()) {
        const int before = predecessors_[node][next++];
        if (!seen[before]) {
          seen[before] = true;
          stack.emplace_back(before, 0);
        }
        continue;
      }
      order_[node] = static_cast<int>(reverse_postorder_.size());
      reverse_postorder_.push_back(node);
      stack.pop_back();
    }
  }

  bool update(int node) {
    int meet = kUnreachable;
    for (int next : successors_[node]) {
      if (order_[next] == kUnreachable || parent_[next] == kUnreachable) continue;
      meet = meet == kUnreachable ? next : intersect(meet, next);
    }
    const bool changed = parent_[node] != meet;
    parent_[node] = meet;
    return changed;
  }

  int intersect(int a, int b) const {
    while (a != b) {
      while (order_[a] < order_[b]) a = parent_[a];
      while (order_[b] < order_[a]) b = parent_[b];
    }
    return a;
  }

  const std::vector<std::vector<int>>& successors_;
  std::vector<std::vector<int>> predecessors_;
  std::vector<int> order_;  // postorder number, kUnreachable without a path to the exit
  std::vector<int> parent_;
  std::vector<int> reverse_postorder_;  // nodes by postorder number
};

}  // namespace

std::vector<BasicBlock> basic_blocks(const Function& function) {
  const int size = static_cast<int>(function.code.size());
  std::vector<bool> leader(size + 1);
  leader[0] = true;
  for (int pc = 0; pc < size; ++pc) {
    const Instruction& i = function.code[pc];
    if (!is_branch(i) && !is_exit(i)) continue;
    leader[pc + 1] = true;
    if (!is_branch(i)) continue;
    for (int target : branch_targets(function, i)) leader[target] = true;
  }
  std::vector<int> block_of(size + 1, -1);
  std::vector<BasicBlock> blocks;
  for (int pc = 0; pc < size; ++pc) {
    if (leader[pc]) blocks.push_back({pc, pc, {}});
    blocks.back().end = pc + 1;
    block_of[pc] = static_cast<int>(blocks.size()) - 1;
  }
  for (BasicBlock& block : blocks) {
    const Instruction& last = function.code[block.end - 1];
    const bool falls_through = (!is_branch(last) && !is_exit(last)) || last.guard != kNoSlot;
    if (falls_through && block.end < size) block.successors.push_back(block_of[block.end]);
    if (!is_branch(last)) continue;
    for (int target : branch_targets(function, last)) block.successors.push_back(block_of[target]);
  }
  return blocks;
}

void find_reconvergence(Function& function) {
  const std::vector<BasicBlock> blocks = basic_blocks(function);
  const int exit = static_cast<int>(blocks.size());
  const auto is_bare_return = [&](int b) {
    return blocks[b].end - blocks[b].begin == 1 && is_exit(function.code[blocks[b].begin]) &&
           blocks[b].successors.empty();
  };
  std::vector<std::vector<int>> all(exit);
  std::vector<std::vector<int>> staying(exit);
  for (int b = 0; b < exit; ++b) {
    all[b] = blocks[b].successors;
    if (all[b].empty()) all[b].push_back(exit);
    std::remove_copy_if(all[b].begin(), all[b].end(), std::back_inserter(staying[b]),
                        [&](int next) { return next != exit && is_bare_return(next); });
    if (staying[b].empty()) staying[b] = all[b];
  }
  const PostDominators of_all(all, exit);
  const PostDominators of_staying(staying, exit);
  for (int b = 0; b < exit; ++b) {
    Instruction& last = function.code[blocks[b].end - 1];
    if (!is_branch(last)) continue;
    int meet = of_staying.immediate(b);
    if (meet == kUnreachable) meet = of_all.immediate(b);
    last.reconverge = meet == kUnreachable || meet == exit ? kNoTarget : blocks[meet].begin;
  }
}

}  // namespace nvfp4::emulator
