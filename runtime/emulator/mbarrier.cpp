// SPDX-License-Identifier: Apache-2.0
#include "runtime/emulator/mbarrier.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/emulator/cluster.h"
#include "runtime/emulator/memory_access.h"

namespace nvfp4::emulator {
namespace {

constexpr uint32_t kMaxCount = (1u << 20) - 1;  // arrivals and bytes of a phase
constexpr size_t kBytes = 8;

[[noreturn]] void misuse(Warp& warp, int lane, std::string text) {
  warp.fail(FaultKind::mbarrier_misuse, lane, std::move(text));
}

}  // namespace

std::string describe(const Mbarrier& barrier) {
  std::string text = fmt::format("the mbarrier at shared+{:#x} (phase {}: {} of {} arrivals",
                                 barrier.offset, barrier.phase, barrier.pending, barrier.count);
  if (barrier.bytes >= 0) return text + fmt::format(" and {} bytes to come)", barrier.bytes);
  return text + fmt::format(" to come, {} bytes came that were not announced)", -barrier.bytes);
}

void Mbarriers::init(Warp& warp, int lane, uint64_t address, uint32_t count) {
  const size_t offset = shared_offset(warp, lane, address, kBytes, "initialises");
  if (count == 0 || count > kMaxCount) {
    misuse(warp, lane,
           fmt::format("mbarrier.init with count {}, which is outside 1 .. {}", count, kMaxCount));
  }
  if (barriers_.contains(static_cast<uint32_t>(offset))) {
    misuse(warp, lane, fmt::format("mbarrier.init of the live mbarrier at shared+{:#x}", offset));
  }
  SharedShadow& shadow = block_.shadow();
  shadow.write(warp.agent(), lane, offset, kBytes, false);
  HappensBefore& order = block_.cluster().order();
  Mbarrier& barrier = barriers_[static_cast<uint32_t>(offset)];
  barrier.offset = static_cast<uint32_t>(offset);
  barrier.agent = order.add_agent(barrier.offset);
  barrier.count = barrier.pending = count;
  barrier.initialised = order.initialise(warp.agent(), lane, warp.live());
  barrier.initialiser = block_.shadow().thread_name(warp.agent(), lane);
  shadow.claim(offset, kBytes, barrier.agent);
}

void Mbarriers::invalidate(Warp& warp, int lane, uint64_t address) {
  const Mbarrier& barrier = find(warp, lane, address);
  if (!barrier.waiting.empty())
    misuse(warp, lane,
           fmt::format("mbarrier.inval of {}, which a warp waits for", describe(barrier)));
  block_.shadow().end_claim(warp.agent(), lane, barrier.offset, kBytes);
  barriers_.erase(barrier.offset);
}

Mbarrier& Mbarriers::find(Warp& warp, int lane, uint64_t address) {
  const auto found = barriers_.find(static_cast<uint32_t>(address));
  if (found == barriers_.end() || found->first != address) {
    misuse(warp, lane, fmt::format("no mbarrier was initialised at shared+{:#x}", address));
  }
  Mbarrier& barrier = found->second;
  if (!block_.cluster().order().ordered(warp.agent(), lane, barrier.initialised)) {
    warp.fail(FaultKind::shared_race, lane,
              fmt::format("uses the mbarrier at shared+{:#x} that {} initialises, and nothing "
                          "orders that before it",
                          address, barrier.initialiser));
  }
  return barrier;
}

Mbarrier& Mbarriers::find_for_copy(Warp& warp, int lane, uint64_t address) {
  Mbarrier& barrier = find(warp, lane, address);
  const HappensBefore& order = block_.cluster().order();
  if (!order.init_fenced(barrier.initialised) &&
      !order.fenced(warp.agent(), lane, barrier.initialised)) {
    warp.fail(FaultKind::missing_proxy_fence, lane,
              fmt::format("a bulk copy completes on the mbarrier at shared+{:#x}, without a "
                          "fence.mbarrier_init or fence.proxy.async after its init",
                          address));
  }
  return barrier;
}

void Mbarriers::expect(Warp& warp, int lane, Mbarrier& barrier, uint32_t bytes) {
  barrier.bytes += bytes;
  if (bytes > kMaxCount || barrier.bytes > kMaxCount) {
    misuse(warp, lane,
           fmt::format("announces {} bytes to {}: a phase counts up to {}", bytes,
                       describe(barrier), kMaxCount));
  }
  end_phase_if_complete(barrier);
}

void Mbarriers::arrive(Warp& warp, int lane, Mbarrier& barrier, uint32_t count) {
  if (count == 0 || count > barrier.pending) {
    misuse(warp, lane, fmt::format("{} arrivals at {}", count, describe(barrier)));
  }
  barrier.pending -= count;
  end_phase_if_complete(barrier);
}

void Mbarriers::complete(Warp& warp, int lane, Mbarrier& barrier, uint32_t bytes) {
  barrier.bytes -= bytes;
  barrier.filled = true;
  if (barrier.bytes < -int64_t{kMaxCount}) {
    misuse(warp, lane, fmt::format("a copy of {} bytes overflows {}", bytes, describe(barrier)));
  }
  if (barrier.pending == 0 && barrier.bytes < 0) {
    misuse(warp, lane,
           fmt::format("a copy of {} bytes is more than was announced to {}", bytes,
                       describe(barrier)));
  }
  end_phase_if_complete(barrier);
}

void Mbarriers::end_phase_if_complete(Mbarrier& barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  barrier.completed.join(barrier.arriving);
  barrier.arriving = {};
  HappensBefore& order = block_.cluster().order();
  for (auto* view : {&barrier.completed.seen, &barrier.completed.done}) {
    view->whole.resize(std::max<size_t>(view->whole.size(), barrier.agent + 1));
    view->whole[barrier.agent] = order.now(barrier.agent);
  }
  order.tick(barrier.agent);
  ++barrier.phase;
  barrier.pending = barrier.count;
  if (barrier.filled) barrier.watched = false;
  barrier.filled = false;
  for (Warp* warp : barrier.waiting) warp->wake();
  barrier.waiting.clear();
  block_.cluster().progress();
}

// A wait for a parity is answered by the phase before the one in progress, or, one phase earlier,
// by the one before that. A thread can tell them apart only if it knows the older one to be over.
bool Mbarriers::test_parity(Warp& warp, int lane, const Mbarrier& barrier, uint32_t parity) const {
  if (((barrier.phase - 1) & 1) != (parity & 1)) return false;
  const HappensBefore& order = block_.cluster().order();
  uint32_t least = order.seen_stamp(warp.agent(), lane, barrier.agent) - order.base();
  if (((least - 1) & 1) != (parity & 1)) ++least;
  if (barrier.phase > least) {
    misuse(warp, lane,
           fmt::format("waits for parity {} and sees phase {} complete, but as far as this thread "
                       "knows phase {} could have answered: {}",
                       parity & 1, barrier.phase - 1, static_cast<int64_t>(least) - 1,
                       describe(barrier)));
  }
  return true;
}

bool Mbarriers::test_phase(Warp& warp, int lane, const Mbarrier& barrier, uint32_t phase) const {
  if (phase != barrier.phase && phase + 1 != barrier.phase) {
    misuse(warp, lane,
           fmt::format("waits for phase {} of {}: a state is valid in its own phase and "
                       "the next",
                       phase, describe(barrier)));
  }
  return phase != barrier.phase;
}

void Mbarriers::observe(Warp& warp, uint32_t lanes, Mbarrier& barrier) {
  barrier.watched = true;
  warp.waited_for_grid |= barrier.waited_for_grid;
  block_.cluster().order().acquire(warp.agent(), lanes, warp.live(), barrier.completed);
}

Access Mbarriers::copy_access(const Mbarrier& barrier) const {
  return {block_.cluster().order().now(barrier.agent), static_cast<uint16_t>(barrier.agent), 0};
}

std::string Mbarriers::complaint_at_end() const {
  for (const auto& [offset, barrier] : barriers_) {
    if (barrier.bytes < 0)
      return "the CTA ends with bytes that nobody announced: " + describe(barrier);
    if (barrier.bytes > 0 || barrier.filled || !barrier.watched)
      return "the CTA ends without having waited for the copies of " + describe(barrier);
  }
  return {};
}

}  // namespace nvfp4::emulator
