// SPDX-License-Identifier: Apache-2.0
// The emulated device as a sanitizer: for each kind of mistake a smallest kernel that makes it,
// whose report must say what, where and who; beside it, where a false alarm is likely, the correct
// kernel.
#include <doctest/doctest.h>

#include "tests/emulator_kernel.h"

namespace nvfp4::emulator {
namespace {

// %r21 = address of the thread's word in s.
const std::string kOwnWord = "mov.u32 %r20, s; mad.lo.u32 %r21, %r2, 4, %r20;";

KernelRun shared_kernel(const std::string& body, unsigned threads) {
  KernelRun kernel;
  kernel.declarations = ".shared .align 16 .b8 s[4096];";
  kernel.threads = threads;
  kernel.body = body;
  return kernel;
}

}  // namespace

TEST_CASE("an access outside an allocation, or across its end, is reported") {
  KernelRun kernel;
  kernel.in.resize(64);
  kernel.body =
      "mul.wide.u32 %rd3, %r2, 32;\nadd.s64 %rd4, %rd2, %rd3;\nld.global.u32 %r10, [%rd4];";
  check_fault(kernel, FaultKind::illegal_address, 2, 16, "reads 4 bytes at global");
  kernel.body = "st.global.v4.u32 [%rd1+8184], {%r2, %r2, %r2, %r2};";
  check_fault(kernel, FaultKind::illegal_address, 0, 0,
              "writes 16 bytes at an allocation+0x1ff8, beyond its 8192 bytes");
  kernel.body = "mov.u64 %rd5, 64;\nld.global.u32 %r10, [%rd5];";
  check_fault(kernel, FaultKind::illegal_address, 1, 0, "outside every allocation");
  kernel = shared_kernel("mov.u32 %r20, s;\nst.shared.u32 [%r20+4096], 1;", 1);
  check_fault(kernel, FaultKind::illegal_address, 1, 0,
              "writes 4 bytes at shared+0x1000, beyond its 4096 bytes");
  kernel.dynamic_smem = 4;
  check_clean(kernel);
}

TEST_CASE("a misaligned access is reported") {
  KernelRun kernel;
  kernel.threads = 1;
  kernel.body = "ld.global.v2.u32 {%r10, %r11}, [%rd2+4];";
  check_fault(kernel, FaultKind::misaligned, 0, 0, "reads 8 bytes");
  kernel = shared_kernel("mov.u32 %r20, s;\ncp.async.ca.shared.global [%r20+4], [%rd2], 8;", 1);
  check_fault(kernel, FaultKind::misaligned, 1, 0, "copies 8 bytes");
  kernel.body = "mov.u32 %r20, s;\ncp.async.cg.shared.global [%r20], [%rd2+8], 16;";
  check_fault(kernel, FaultKind::misaligned, 1, 0, "cp.async of 16 bytes");
}

TEST_CASE("a read of memory that was never written is reported") {
  KernelRun kernel;
  kernel.threads = 1;
  kernel.body =
      "st.global.u32 [%rd1], 1;\nld.global.u32 %r10, [%rd1];\nld.global.u64 %rd10, [%rd1];";
  check_fault(kernel, FaultKind::uninitialised_read, 2, 0, "that were never written");
  kernel = shared_kernel("mov.u32 %r20, s;\nld.shared.u32 %r10, [%r20];", 1);
  check_fault(kernel, FaultKind::uninitialised_read, 1, 0,
              "reads 4 bytes at shared+0x0 that were never written");
}

TEST_CASE("shared memory of an earlier CTA does not count as written") {
  KernelRun kernel = shared_kernel(R"(setp.eq.u32 %p1, %r3, 0;
mov.u32 %r20, s;
@%p1 st.shared.u32 [%r20], 1;
ld.shared.u32 %r10, [%r20];)",
                                   1);
  kernel.blocks = 2;
  const Fault fault = fault_of(kernel);
  CHECK(fault.kind == FaultKind::uninitialised_read);
  CHECK(fault.text.find("block (1,0,0)") != std::string::npos);
}

TEST_CASE("a missing CTA barrier between a write and another warp's read is reported") {
  const std::string read =
      "\nxor.b32 %r22, %r2, 32;\nmad.lo.u32 %r23, %r22, 4, %r20;\nld.shared.u32 %r10, [%r23];";
  KernelRun kernel = shared_kernel(kOwnWord + "\nst.shared.u32 [%r21], %r2;" + read, 64);
  // Warp 0 finds nothing written yet, or warp 1 finds warp 0's write unordered: both are faults.
  const Fault fault = fault_of(kernel);
  CHECK((fault.kind == FaultKind::shared_race || fault.kind == FaultKind::uninitialised_read));
  kernel.body = kOwnWord + "\nst.shared.u32 [%r21], %r2;\nbar.sync 0;" + read;
  check_clean(kernel);
  // The second warp overwrites what the first may still be reading.
  kernel.body =
      kOwnWord + "\nst.shared.u32 [%r21], %r2;\nbar.sync 0;" + read + "\nst.shared.u32 [%r23], 5;";
  check_clean(kernel);
  kernel.body =
      kOwnWord + "\nst.shared.u32 [%r21], %r2;\nbar.sync 0;" + read + "\nst.shared.u32 [%r21], 5;";
  CHECK(fault_of(kernel).kind == FaultKind::shared_race);
  kernel.body = kOwnWord + "\nst.shared.u32 [%r21], %r2;\nbar.sync 0;" + read +
                "\nbar.sync 0;\nst.shared.u32 [%r21], 5;";
  check_clean(kernel);
}

TEST_CASE("lanes of one warp need bar.warp.sync between a write and another lane's access") {
  const std::string read =
      "\nxor.b32 %r22, %r2, 1;\nmad.lo.u32 %r23, %r22, 4, %r20;\nld.shared.u32 %r10, [%r23];";
  KernelRun kernel = shared_kernel(kOwnWord + "\nst.shared.u32 [%r21], %r2;" + read, 32);
  check_fault(kernel, FaultKind::shared_race, 4, 0,
              "reads 4 bytes at shared+0x4 that thread 1 writes, and nothing orders");
  kernel.body = kOwnWord + "\nst.shared.u32 [%r21], %r2;\nbar.warp.sync -1;" + read;
  check_clean(kernel);
  // A shuffle gathers the lanes but orders no memory.
  kernel.body =
      kOwnWord + "\nst.shared.u32 [%r21], %r2;\nshfl.sync.idx.b32 %r30, %r2, 0, 31, -1;" + read;
  CHECK(fault_of(kernel).kind == FaultKind::shared_race);
  // A lane's own words need nothing.
  kernel.body =
      kOwnWord +
      "\nst.shared.u32 [%r21], %r2;\nld.shared.u32 %r10, [%r21];\nst.shared.u32 [%r21], 1;";
  check_clean(kernel);
}

TEST_CASE("two threads that write one word race unless the value is the same in one instruction") {
  KernelRun kernel = shared_kernel("mov.u32 %r20, s;\nst.shared.u32 [%r20], %r2;", 32);
  check_fault(kernel, FaultKind::shared_race, 1, 1,
              "writes 4 bytes at shared+0x0 that thread 0 writes");
  kernel.body = "mov.u32 %r20, s;\nst.shared.u32 [%r20], 7;";
  check_clean(kernel);
  kernel.threads = 64;
  CHECK(fault_of(kernel).kind == FaultKind::shared_race);
  // Halves of one word are different places.
  kernel.body = "mov.u32 %r20, s;\nmad.lo.u32 %r21, %r2, 2, %r20;\nst.shared.u16 [%r21], %r2;";
  check_clean(kernel);
}

TEST_CASE("a named barrier orders its own warps and no others") {
  // Warps 0, 1 use barrier 1 and warps 2, 3 barrier 2; each reads a word of the warp across.
  const auto body = [](int across) {
    return kOwnWord + fmt::format(R"(
st.shared.u32 [%r21], %r2;
shr.u32 %r24, %r2, 6;
add.u32 %r24, %r24, 1;
bar.sync %r24, 64;
xor.b32 %r22, %r2, {};
mad.lo.u32 %r23, %r22, 4, %r20;
ld.shared.u32 %r10, [%r23];)",
                                  across);
  };
  check_clean(shared_kernel(body(32), 128));
  const FaultKind kind = fault_of(shared_kernel(body(64), 128)).kind;
  CHECK((kind == FaultKind::shared_race || kind == FaultKind::uninitialised_read));
}

TEST_CASE("atomics do not race with each other but with plain accesses") {
  const std::string start = R"(mov.u32 %r20, s;
setp.eq.u32 %p1, %r2, 0;
@%p1 st.shared.u32 [%r20], 0;
bar.sync 0;
atom.shared.add.u32 %r10, [%r20], 1;)";
  check_clean(shared_kernel(start, 128));
  CHECK(fault_of(shared_kernel(start + "\nld.shared.u32 %r11, [%r20];", 128)).kind ==
        FaultKind::shared_race);
  check_clean(shared_kernel(start + "\nbar.sync 0;\nld.shared.u32 %r11, [%r20];", 128));
}

TEST_CASE("a cp.async must be waited for by its thread, and ordered before others read") {
  const std::string copy =
      "mov.u32 %r20, s;\nmad.lo.u32 %r21, %r2, 16, %r20;\nmul.wide.u32 %rd3, %r2, 16;\n"
      "add.s64 %rd4, %rd2, %rd3;\ncp.async.cg.shared.global [%r21], [%rd4], 16;\n"
      "cp.async.commit_group;\n";
  const std::string own = "ld.shared.u32 %r10, [%r21];";
  const std::string other = "xor.b32 %r22, %r21, 16;\nld.shared.u32 %r10, [%r22];";
  KernelRun kernel = shared_kernel(copy + own, 32);
  check_fault(kernel, FaultKind::async_read_before_wait, 6, 0,
              "before it has waited for the cp.async that fills them");
  kernel.body = copy + "cp.async.wait_group 1;\n" + own;  // one group too few
  check_fault(kernel, FaultKind::async_read_before_wait, 7, 0, "cp.async");
  kernel.body = copy + "bar.warp.sync -1;\n" + other;
  check_fault(kernel, FaultKind::async_read_before_wait, 8, 0,
              "before thread 1 has waited for the cp.async");
  kernel.body = copy + "cp.async.wait_group 0;\n" + own;
  check_clean(kernel);
  kernel.body = copy + "cp.async.wait_group 0;\n" + other;
  check_fault(kernel, FaultKind::shared_race, 8, 0,
              "that thread 1 writes, and nothing orders the write before it");
  kernel.body = copy + "cp.async.wait_group 0;\nbar.warp.sync -1;\n" + other;
  check_clean(kernel);
  // The barrier must come after the wait.
  kernel.body = copy + "bar.warp.sync -1;\ncp.async.wait_group 0;\n" + other;
  CHECK(fault_of(kernel).kind == FaultKind::shared_race);
}

TEST_CASE("a cp.async over what another thread may still be reading is reported when it starts") {
  const std::string stage = R"(mov.u32 %r20, s;
mad.lo.u32 %r21, %r2, 16, %r20;
mul.wide.u32 %rd3, %r2, 16;
add.s64 %rd4, %rd2, %rd3;
cp.async.cg.shared.global [%r21], [%rd4], 16;
cp.async.wait_all;
bar.warp.sync -1;
xor.b32 %r22, %r21, 16;
ld.shared.u32 %r10, [%r22];
)";
  const std::string refill = "cp.async.cg.shared.global [%r21], [%rd4], 16;";
  KernelRun kernel = shared_kernel(stage + refill, 32);
  check_fault(kernel, FaultKind::shared_race, 9, 0,
              "starts a cp.async over 16 bytes at shared+0x0 that thread 1 reads");
  kernel.body = stage + "bar.warp.sync -1;\n" + refill;
  check_clean(kernel);
  kernel.body = stage + "bar.warp.sync -1;\n" + refill + "\nst.shared.u32 [%r21], 1;";
  check_fault(kernel, FaultKind::shared_race, 11, 0,
              "that a cp.async of thread 0 is still filling");
}

TEST_CASE("ldmatrix reads for the whole warp") {
  const std::string body =
      "mov.u32 %r20, s;\nmad.lo.u32 %r21, %r2, 16, %r20;\n"
      "st.shared.v4.u32 [%r21], {%r2, %r2, %r2, %r2};\n";
  const std::string read =
      "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, [%r21];";
  check_fault(shared_kernel(body + read, 32), FaultKind::shared_race, 3, 0,
              "nothing orders the write before it");
  check_clean(shared_kernel(body + "bar.warp.sync -1;\n" + read, 32));
}

TEST_CASE("a barrier reached by a part of a warp is reported with a thread that is missing") {
  KernelRun kernel;
  kernel.threads = 64;
  kernel.body = "setp.lt.u32 %p1, %r2, 40;\n@%p1 bar.sync 0;";
  check_fault(kernel, FaultKind::barrier_divergence, 1, 40,
              "barrier 0 is reached by a part of the warp");
  kernel.body =
      "setp.lt.u32 %p1, %r2, 40;\n@%p1 bra SKIP;\nbar.warp.sync -1;\nSKIP: mov.u32 %r10, 1;";
  check_fault(kernel, FaultKind::barrier_divergence, 2, 32, "names this thread, which is not here");
  kernel.body = "setp.lt.u32 %p1, %r2, 32;\n@%p1 bra SKIP;\nbar.sync 0, 32;\nSKIP:";
  check_clean(kernel);
}

TEST_CASE("warps that disagree about a barrier are reported") {
  KernelRun kernel;
  kernel.threads = 64;
  kernel.body =
      "setp.lt.u32 %p1, %r2, 32;\n@%p1 bra ONE;\nbar.sync 1, 64;\nbra JOIN;\nONE: bar.sync 1, "
      "96;\nJOIN:";
  check_fault(kernel, FaultKind::barrier_divergence, 2, 32,
              "barrier 1 for 64 threads, but those who came before expect 96");
  kernel.body = "bar.sync 1, 40;";
  check_fault(kernel, FaultKind::barrier_divergence, 0, 0, "40 threads, not a multiple of 32");
  kernel.body = "bar.sync 1, 32;";
  check_clean(kernel);
}

TEST_CASE("warps that wait for each other at different barriers are a deadlock") {
  KernelRun kernel;
  kernel.threads = 64;
  kernel.body =
      "setp.lt.u32 %p1, %r2, 32;\n@%p1 bra ONE;\nbar.sync 1, 64;\nbra JOIN;\nONE: bar.sync 2, "
      "64;\nJOIN:";
  const Fault fault = fault_of(kernel);
  CHECK(fault.kind == FaultKind::deadlock);
  CHECK(fault.text.find(fmt::format("warp 0 at line {}, warp 1 at line {}", kBodyLine + 4,
                                    kBodyLine + 2)) != std::string::npos);
}

TEST_CASE("a shuffle from a lane that is not there is reported") {
  KernelRun kernel;
  kernel.body =
      "setp.lt.u32 %p1, %r2, 16;\n@%p1 bra SKIP;\nshfl.sync.idx.b32 %r10, %r2, 3, 31, "
      "0xffff0000;\nSKIP:";
  check_fault(kernel, FaultKind::barrier_divergence, 2, 16, "shfl reads lane 3, which is not here");
}

TEST_CASE("an endless loop ends at the instruction limit") {
  KernelRun kernel;
  kernel.limit = 100'000;
  kernel.body = "SPIN: ld.global.cv.u32 %r10, [%rd2];\nsetp.eq.u32 %p1, %r10, 0;\n@%p1 bra SPIN;";
  const Fault fault = fault_of(kernel);
  CHECK(fault.kind == FaultKind::instruction_limit);
  CHECK(fault.text.find("exceeds its limit of 100000 warp instructions") != std::string::npos);
}

TEST_CASE("a trap is reported") {
  KernelRun kernel;
  kernel.body = "setp.eq.u32 %p1, %r2, 9;\n@%p1 trap;";
  check_fault(kernel, FaultKind::trap, 1, 9, "trap");
}

TEST_CASE("a dependent kernel must not write before the wait, nor end without it") {
  KernelRun kernel;
  kernel.threads = 64;
  kernel.body = "st.global.u32 [%rd1], 1;\ngriddepcontrol.wait;";
  check_fault(kernel, FaultKind::write_before_grid_wait, 0, 0, "before griddepcontrol.wait");
  kernel.body = "setp.lt.u32 %p1, %r2, 100;\n@%p1 bra END;\ngriddepcontrol.wait;\nEND:";
  const Fault fault = fault_of(kernel);
  CHECK(fault.kind == FaultKind::missing_grid_wait);
  // One warp's wait reaches the others through a barrier.
  kernel.body =
      "setp.lt.u32 %p1, %r2, 32;\n@%p1 bra JOIN;\ngriddepcontrol.wait;\nJOIN:\nbar.sync "
      "0;\nst.global.u32 [%rd1], 1;";
  check_clean(kernel);
}

TEST_CASE("a launch beyond its limits is refused with both numbers") {
  const auto refusal = [](const KernelRun& kernel) {
    const Fault fault = fault_of(kernel);
    CHECK(fault.kind == FaultKind::invalid_launch);
    return fault.text;
  };
  KernelRun kernel;
  kernel.threads = 2000;
  CHECK(refusal(kernel) == "kernel k: 2000 threads a block exceed 1024");
  kernel.threads = 32;
  kernel.dynamic_smem = 300000;
  CHECK(refusal(kernel) == "kernel k: shared memory 300000 exceeds 232448");
  kernel.dynamic_smem = 0;
  kernel.blocks = 0;
  CHECK(refusal(kernel) == "kernel k: a dimension of the launch is zero");
}

TEST_CASE("the first fault stops the launch on all host threads") {
  KernelRun kernel;
  kernel.blocks = 10000;
  kernel.host_threads = 2;
  kernel.body = "trap;";
  PreparedKernel prepared(kernel);
  const LaunchResult result = run(prepared.request, prepared.memory);
  REQUIRE(result.fault.has_value());
  CHECK(result.fault->kind == FaultKind::trap);
  CHECK(result.warp_instructions < 1000);
}

}  // namespace nvfp4::emulator
