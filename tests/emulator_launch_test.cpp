// SPDX-License-Identifier: Apache-2.0
// The emulated device across warps and CTAs: asynchronous copies, atomics, barriers, launches,
// dependent launches, memory.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <numeric>
#include <random>

#include "tests/emulator_kernel.h"

namespace nvfp4::emulator {

namespace {

// Appends to a body: out[thread] = %r10.
const std::string kStore32 = R"(
mul.wide.u32 %rd50, %r1, 8;
add.s64 %rd51, %rd1, %rd50;
cvt.u64.u32 %rd52, %r10;
st.global.u64 [%rd51], %rd52;
)";

}  // namespace

TEST_CASE("cp.async copies, zero-fills and lands only at its wait") {
  KernelRun kernel;
  kernel.declarations = ".shared .align 16 .b8 s[1024];";
  kernel.in.resize(64);
  std::iota(kernel.in.begin(), kernel.in.end(), 1);
  kernel.body = R"(
mul.lo.u32 %r20, %r2, 16;
mov.u32 %r21, s;
add.u32 %r21, %r21, %r20;
mul.wide.u32 %rd3, %r2, 16;
add.s64 %rd4, %rd2, %rd3;
setp.lt.u32 %p1, %r2, 16;
selp.u32 %r22, 16, 8, %p1;
cp.async.cg.shared.global [%r21], [%rd4], 16, %r22;
cp.async.commit_group;
cp.async.ca.shared.global [%r21+512], [%rd4], 8;
cp.async.commit_group;
cp.async.wait_group 1;
ld.shared.v2.u64 {%rd10, %rd11}, [%r21];
cp.async.wait_all;
ld.shared.u64 %rd12, [%r21+512];
add.s64 %rd5, %rd1, %rd3;
sub.s64 %rd12, %rd12, %rd10;
add.s64 %rd10, %rd10, %rd12;
st.global.v2.u64 [%rd5], {%rd10, %rd11};
)";
  const auto out = results(kernel);
  for (unsigned lane = 0; lane < 32; ++lane) {
    CHECK(out[2 * lane] == 2 * lane + 1);
    CHECK(out[2 * lane + 1] == (lane < 16 ? 2 * lane + 2 : 0));
  }
}

TEST_CASE("atomics of both spaces combine what all threads bring") {
  KernelRun kernel;
  kernel.blocks = 8;
  kernel.threads = 64;
  kernel.host_threads = 2;
  kernel.in = {0, 1000, 0, 0, 0, 0, std::bit_cast<uint32_t>(0.0f), 0};
  kernel.out_words = 512;
  kernel.declarations = ".shared .u32 sum;";
  kernel.body = R"(
setp.eq.u32 %p1, %r2, 0;
@%p1 st.shared.u32 [sum], 0;
bar.sync 0;
atom.shared.add.u32 %r11, [sum], 2;
bar.sync 0;
ld.shared.u32 %r10, [sum];
red.global.add.u64 [%rd2], 3;
atom.global.min.s32 %r12, [%rd2+8], %r1;
atom.global.max.u32 %r12, [%rd2+16], %r1;
atom.global.inc.u32 %r12, [%rd2+24], 511;
atom.global.or.b32 %r12, [%rd2+32], %r1;
red.global.add.f32 [%rd2+48], 0f3F000000;
)" + kStore32;
  PreparedKernel prepared(kernel);
  const LaunchResult result = run(prepared.request, prepared.memory);
  if (result.fault) FAIL(result.fault->text);
  const auto counter = [&](int i) {
    uint64_t value = 0;
    std::memcpy(&value, prepared.memory.resolve(prepared.in + 8 * i, 8, false), 8);
    return value;
  };
  CHECK(prepared.word(511) == 128);
  CHECK(counter(0) == 3 * 512);
  CHECK(counter(1) == 0);
  CHECK(counter(2) == 511);
  CHECK(counter(3) == 0);  // 512 increments modulo 512
  CHECK(counter(4) == 511);
  CHECK(std::bit_cast<float>(static_cast<uint32_t>(counter(6))) == 256.0f);
}

TEST_CASE("the last arriver of many CTAs on two threads sees every partial") {
  KernelRun kernel;
  kernel.blocks = 200;
  kernel.host_threads = 2;
  kernel.out_words = 256 * 32;
  kernel.declarations = ".shared .u32 last;";
  kernel.body = R"(
add.u32 %r11, %r3, 1;
mul.wide.u32 %rd3, %r1, 8;
add.s64 %rd4, %rd1, %rd3;
cvt.u64.u32 %rd5, %r11;
st.global.cg.u64 [%rd4+8192], %rd5;
fence.acq_rel.gpu;
bar.sync 0;
setp.ne.u32 %p1, %r2, 0;
@%p1 bra WAIT;
atom.global.add.u32 %r12, [%rd2], 1;
st.shared.u32 [last], %r12;
WAIT:
bar.sync 0;
ld.shared.u32 %r13, [last];
setp.ne.u32 %p2, %r13, 199;
@%p2 bra END;
fence.acq_rel.gpu;
mov.u64 %rd10, 0;
mov.u32 %r14, 0;
mul.wide.u32 %rd6, %r2, 8;
add.s64 %rd7, %rd1, %rd6;
mov.u64 %rd8, %rd7;
SUM:
ld.global.cg.u64 %rd9, [%rd8+8192];
add.s64 %rd10, %rd10, %rd9;
add.s64 %rd8, %rd8, 256;
add.u32 %r14, %r14, 1;
setp.lt.u32 %p3, %r14, 200;
@%p3 bra SUM;
st.global.u64 [%rd7], %rd10;
END:
)";
  for (uint64_t seed : {0, 1, 2, 3}) {
    kernel.seed = seed;
    PreparedKernel prepared(kernel);
    const LaunchResult result = run(prepared.request, prepared.memory);
    if (result.fault) FAIL(result.fault->text);
    for (int lane = 0; lane < 32; ++lane) CHECK(prepared.word(lane) == 200 * 201 / 2);
  }
}

TEST_CASE("named barriers join groups of warps, arrivals do not wait, reductions count") {
  KernelRun kernel;
  kernel.threads = 128;
  kernel.declarations = ".shared .align 4 .b8 s[512];";
  kernel.body = R"(
shr.u32 %r20, %r2, 6;
add.u32 %r21, %r20, 1;
mov.u32 %r22, s;
mad.lo.u32 %r23, %r2, 4, %r22;
st.shared.u32 [%r23], %r2;
bar.sync %r21, 64;
xor.b32 %r24, %r2, 32;
mad.lo.u32 %r25, %r24, 4, %r22;
ld.shared.u32 %r10, [%r25];
setp.lt.u32 %p1, %r2, 64;
@%p1 bra PRODUCE;
bar.sync 5, 128;
bra JOIN;
PRODUCE:
bar.arrive 5, 128;
JOIN:
setp.lt.u32 %p2, %r2, 50;
bar.red.popc.u32 %r26, 0, %p2;
bar.red.or.pred %p3, 0, %p2;
bar.red.and.pred %p4, 0, %p2;
selp.u32 %r27, 1000, 0, %p3;
selp.u32 %r28, 5000, 0, %p4;
mad.lo.u32 %r10, %r26, 10000, %r10;
add.u32 %r10, %r10, %r27;
add.u32 %r10, %r10, %r28;
)" + kStore32;
  for (uint64_t seed : {0, 5, 6}) {
    kernel.seed = seed;
    const auto out = results(kernel);
    for (unsigned t = 0; t < 128; ++t) CHECK(out[t] == 501000 + (t ^ 32));
  }
}

TEST_CASE("a launch counts instructions and bytes, and one host thread repeats it exactly") {
  KernelRun kernel;
  kernel.blocks = 3;
  kernel.seed = 11;
  kernel.body = "ld.global.u32 %r10, [%rd2];" + kStore32;
  PreparedKernel first(kernel);
  const LaunchResult a = run(first.request, first.memory);
  PreparedKernel second(kernel);
  const LaunchResult b = run(second.request, second.memory);
  CHECK(a.warp_instructions == 3 * 12);
  CHECK(a.warp_instructions == b.warp_instructions);
  CHECK(a.global_bytes_read == 3 * 32 * 4);
  CHECK(a.global_bytes_written == 3 * 32 * 8);
}

TEST_CASE("the seed changes the order of CTAs and nothing else") {
  KernelRun kernel;
  kernel.blocks = 16;
  kernel.threads = 1;
  kernel.body = "atom.global.add.u32 %r10, [%rd2], 1;" + kStore32;
  kernel.out_words = 16;
  const auto ascending = results(kernel);
  kernel.seed = 1;
  auto shuffled = results(kernel);
  for (unsigned i = 0; i < 16; ++i) CHECK(ascending[i] == i);
  CHECK(shuffled != ascending);
  std::sort(shuffled.begin(), shuffled.end());
  CHECK(shuffled == ascending);
}

TEST_CASE("a dependent launch does its first part before the predecessor's writes") {
  KernelRun kernel;
  kernel.blocks = 4;
  kernel.in = {1};
  kernel.body = R"(
ld.global.u32 %r11, [%rd2];
griddepcontrol.launch_dependents;
griddepcontrol.wait;
ld.global.u32 %r12, [%rd2];
mad.lo.u32 %r10, %r11, 100, %r12;
)" + kStore32;
  PreparedKernel prepared(kernel);
  prepared.request.resident_ctas = 3;
  const auto paused = run_until_wait(prepared.request, prepared.memory);
  const uint64_t two = 2;
  std::memcpy(prepared.memory.resolve(prepared.in, 8, true), &two, 8);
  const LaunchResult result = resume(*paused);
  if (result.fault) FAIL(result.fault->text);
  for (int block = 0; block < 3; ++block) CHECK(prepared.word(block * 32) == 102);
  CHECK(prepared.word(3 * 32) == 202);  // beyond the first wave
}

TEST_CASE("memory keeps exact bounds, gaps and what was written") {
  GlobalMemory memory(1000);
  const uint64_t a = memory.allocate(100);
  const uint64_t b = memory.allocate(200);
  CHECK(a % 256 == 0);
  CHECK(b >= a + 100 + 4096);
  CHECK(memory.allocate(701) == 0);
  CHECK(memory.allocate(0) == 0);
  CHECK(memory.resolve(a + 90, 10, false) != nullptr);
  CHECK(memory.resolve(a + 90, 11, false) == nullptr);
  CHECK_FALSE(memory.initialised(a, 1));
  memory.resolve(a, 10, true);
  CHECK(memory.initialised(a, 10));
  CHECK_FALSE(memory.initialised(a, 11));
  CHECK_FALSE(memory.free(a + 1));
  CHECK(memory.free(a));
  CHECK_FALSE(memory.free(a));
  CHECK(memory.resolve(a, 1, false) == nullptr);
  CHECK(memory.allocate(100) > b);
  CHECK(memory.used() == 300);
}

}  // namespace nvfp4::emulator
