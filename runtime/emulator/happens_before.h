// SPDX-License-Identifier: Apache-2.0
// Who knows what of whom in the CTAs of one cluster: the happens-before relation of the PTX memory
// model (PTX ISA, "Memory Consistency Model"), kept as vector clocks.
//
// An agent is whatever accesses shared memory: a warp; a warpgroup's wgmma unit, which reads while
// its warps go on; an mbarrier, in whose name the copy engine writes. An agent's accesses carry its
// stamp, which grows where others may learn of them: at a warp's synchronisations, with a
// warpgroup's wgmma groups, with an mbarrier's phases. Whoever knows an agent's stamp comes after
// all of its accesses up to that stamp.
//
// There are three views of the stamps. What was seen: the order of the memory model. What was seen
// across a fence.proxy.async: generic accesses (ld, st) come before those of the async proxy (bulk
// copies, wgmma) only there. And what is done: a relaxed arrival orders nothing, but the values of
// loads before it have been used, so that a write after the barrier cannot disturb them. (It also
// carries what a proxy fence before it has ordered, which the memory model leaves open: the fence
// has to complete those accesses to do its work.)
//
// Knowledge that a part of a warp gained alone (an elected producer's) is held for those lanes
// until the warp synchronises. mbarrier.init is an access of an agent of its own, a warp's
// initialiser, because fence.mbarrier_init orders it where a relaxed arrival follows.
#pragma once

#include <cstdint>
#include <vector>

namespace nvfp4::emulator {

/// One access to shared memory, as far as order goes.
struct Access {
  uint32_t stamp = 0;
  uint16_t agent = 0;
  uint8_t lane = 0;
};

class HappensBefore {
 public:
  static constexpr int kWholeWarp = 32;               ///< as a lane: an access made for all lanes
  static constexpr uint32_t kNever = (1u << 26) - 1;  ///< a stamp that nobody learns
  static constexpr uint32_t kMaxStamp = kNever / 2;

  /// The stamps known of every agent, and of warps those that only some lanes have published.
  struct View {
    struct Part {
      uint32_t stamp = 0;
      uint32_t lanes = 0;
    };
    std::vector<uint32_t> whole;
    std::vector<Part> part;

    bool covers(const Access& access) const;
    void join(const View& other);
  };
  struct Knowledge {
    View seen;
    View fenced;
    View done;

    void join(const Knowledge& other) {
      seen.join(other.seen);
      fenced.join(other.fenced);
      done.join(other.done);
    }
  };

  HappensBefore(int warps, int warpgroups);

  /// Forgets everything: new CTAs. True when stamps start again at 1.
  bool start();
  int add_agent(uint32_t offset);  ///< an mbarrier, at this offset of its CTA
  uint32_t offset_of(int agent) const { return offsets_[agent - fixed_]; }

  int warps() const { return static_cast<int>(warps_.size()); }
  int fixed() const { return fixed_; }
  uint32_t base() const { return base_; }  ///< stamps up to here belong to earlier CTAs
  uint32_t now(int agent) const { return now_[agent]; }
  void tick(int agent);
  void reach(int agent, uint32_t stamp) {
    while (now_[agent] <= stamp) tick(agent);
  }

  const View& seen(int warp) const { return warps_[warp].seen; }
  const View& done(int warp) const { return warps_[warp].done; }
  /// Whether `before` comes before the next access of this lane of the warp.
  bool ordered(int warp, int lane, const Access& before) const;
  /// The same across a proxy fence.
  bool fenced(int warp, int lane, const Access& before) const;
  /// Whether the load `before` has its value by then.
  bool done(int warp, int lane, const Access& before) const;
  /// The latest stamp of `agent` that this lane has seen, or knows to be done.
  uint32_t seen_stamp(int warp, int lane, int agent) const {
    return latest(warp, lane, agent, &Knowledge::seen);
  }
  uint32_t done_stamp(int warp, int lane, int agent) const {
    return latest(warp, lane, agent, &Knowledge::done);
  }

  /// The lanes of the warp have synchronised.
  void sync_warp(int warp);
  /// `lanes` of a warp whose living lanes are `live` release what they know, and their accesses.
  void publish(int warp, uint32_t lanes, uint32_t live, Knowledge& into);
  /// The same by a relaxed arrival of the whole warp.
  void publish_relaxed(int warp, Knowledge& into);
  void acquire(int warp, uint32_t lanes, uint32_t live, const Knowledge& from);
  void fence_proxy(int warp, uint32_t lanes, uint32_t live);
  /// An mbarrier.init by the lane, and fence.mbarrier_init by it or others.
  Access initialise(int warp, int lane, uint32_t live);
  void fence_inits(int warp) { fenced_inits_[warp] = now_[initialiser(warp)] - 1; }
  bool init_fenced(const Access& init) const {
    return init.stamp <= fenced_inits_[init.agent - initialiser(0)];
  }

  /// The warp has waited for a warpgroup's wgmma groups up to `stamp`, and all lanes for their own
  /// accesses up to `own`, whose results those groups used.
  void complete_wgmma(int warp, int warpgroup, uint32_t stamp, uint32_t own);

 private:
  struct Held {
    uint32_t lanes;
    Knowledge knowledge;
  };
  int initialiser(int warp) const { return fixed_ - warps() + warp; }
  Knowledge& held_by(int warp, uint32_t lanes, uint32_t live);
  uint32_t latest(int warp, int lane, int agent, View Knowledge::*view) const;
  template <class Body>
  bool any_view(int warp, int lane, Body&& body) const;

  int fixed_;
  int agents_;
  uint32_t base_ = 0;
  std::vector<uint32_t> now_;
  std::vector<uint32_t> offsets_;        // of mbarriers
  std::vector<uint32_t> fenced_inits_;   // by warp: its initialiser's stamps up to the last fence
  std::vector<Knowledge> warps_;         // what all lanes of a warp know
  std::vector<std::vector<Held>> held_;  // by warp: what some of its lanes know besides
};

}  // namespace nvfp4::emulator
