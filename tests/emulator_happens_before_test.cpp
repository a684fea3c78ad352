// SPDX-License-Identifier: Apache-2.0
// The order of accesses by itself: two warps, without a kernel.
#include <doctest/doctest.h>

#include "runtime/emulator/happens_before.h"

namespace nvfp4::emulator {
namespace {

constexpr uint32_t kLive = ~0u;
constexpr uint32_t kLane0 = 1;

struct TwoWarps {
  HappensBefore order{2, 1};
  HappensBefore::Knowledge barrier;

  // An access by a lane of warp 0, now.
  Access access(int lane) const { return {order.now(0), 0, static_cast<uint8_t>(lane)}; }
};

}  // namespace

TEST_CASE("a release by a whole warp orders the accesses of all its lanes before an acquire") {
  TwoWarps t;
  const Access before = t.access(5);
  CHECK_FALSE(t.order.ordered(1, 0, before));
  t.order.publish(0, kLive, kLive, t.barrier);
  const Access after = t.access(5);
  t.order.acquire(1, kLive, kLive, t.barrier);
  CHECK(t.order.ordered(1, 0, before));
  CHECK_FALSE(t.order.ordered(1, 0, after));
  CHECK(t.order.ordered(0, 5, after));  // a thread comes after itself
  CHECK_FALSE(t.order.ordered(0, 6, after));
}

TEST_CASE("a release by one lane orders its own accesses, and of others what it knows") {
  TwoWarps t;
  const Access synced = t.access(5);
  t.order.sync_warp(0);
  const Access own = t.access(0);
  const Access other = t.access(5);
  t.order.publish(0, kLane0, kLive, t.barrier);
  t.order.acquire(1, kLive, kLive, t.barrier);
  CHECK(t.order.ordered(1, 3, synced));
  CHECK(t.order.ordered(1, 3, own));
  CHECK_FALSE(t.order.ordered(1, 3, other));
}

TEST_CASE("what one lane has acquired is its own until the warp synchronises") {
  TwoWarps t;
  const Access before = t.access(5);
  t.order.publish(0, kLive, kLive, t.barrier);
  t.order.acquire(1, kLane0, kLive, t.barrier);
  CHECK(t.order.ordered(1, 0, before));
  CHECK_FALSE(t.order.ordered(1, 1, before));
  t.order.sync_warp(1);
  CHECK(t.order.ordered(1, 1, before));
}

TEST_CASE("two halves of a warp that release in turn are the whole warp as of the first") {
  TwoWarps t;
  const Access before = t.access(3);
  t.order.publish(0, 0x0000ffff, kLive, t.barrier);
  const Access between = t.access(3);
  t.order.publish(0, 0xffff0000, kLive, t.barrier);
  t.order.acquire(1, kLive, kLive, t.barrier);
  CHECK(t.order.ordered(1, 0, before));
  CHECK_FALSE(t.order.ordered(1, 0, between));
}

TEST_CASE("a proxy fence counts anywhere on the way, for what lies before it") {
  TwoWarps writer;  // fences itself
  const Access a = writer.access(2);
  writer.order.fence_proxy(0, kLive, kLive);
  const Access behind = writer.access(2);
  writer.order.publish(0, kLive, kLive, writer.barrier);
  writer.order.acquire(1, kLive, kLive, writer.barrier);
  CHECK(writer.order.fenced(1, 0, a));
  CHECK(writer.order.ordered(1, 0, behind));
  CHECK_FALSE(writer.order.fenced(1, 0, behind));

  TwoWarps reader;  // or the one lane that will start a copy does
  const Access b = reader.access(2);
  reader.order.publish(0, kLive, kLive, reader.barrier);
  reader.order.acquire(1, kLive, kLive, reader.barrier);
  CHECK_FALSE(reader.order.fenced(1, 0, b));
  reader.order.fence_proxy(1, kLane0, kLive);
  CHECK(reader.order.fenced(1, 0, b));
  CHECK_FALSE(reader.order.fenced(1, 1, b));
}

TEST_CASE(
    "a relaxed arrival says that loads are done, and orders an mbarrier.init behind its fence") {
  TwoWarps t;
  const Access load = t.access(2);
  const Access init = t.order.initialise(0, 0, kLive);
  CHECK_FALSE(t.order.init_fenced(init));
  t.order.fence_inits(0);
  CHECK(t.order.init_fenced(init));
  const Access late = t.order.initialise(0, 0, kLive);
  t.order.publish_relaxed(0, t.barrier);
  t.order.acquire(1, kLive, kLive, t.barrier);
  CHECK(t.order.done(1, 0, load));
  CHECK_FALSE(t.order.ordered(1, 0, load));
  CHECK(t.order.ordered(1, 0, init));
  CHECK_FALSE(t.order.ordered(1, 0, late));
}

TEST_CASE("a new cluster knows nothing, and nothing of the last one counts as unordered") {
  TwoWarps t;
  const Access old = t.access(7);
  CHECK_FALSE(t.order.start());
  CHECK(t.order.ordered(1, 0, old));
  CHECK_FALSE(t.order.ordered(1, 0, t.access(7)));
}

}  // namespace nvfp4::emulator
