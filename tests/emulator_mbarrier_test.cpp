// SPDX-License-Identifier: Apache-2.0
// mbarriers on the emulated device: what each instruction does, and for each way to misuse one a
// smallest kernel whose report says what, where and who.
#include <doctest/doctest.h>

#include "tests/emulator_kernel.h"

namespace nvfp4::emulator {
namespace {

// s: an mbarrier at %r20 = s and one at s + 8, then data from s + 64 on. Thread 0 is %p1.
KernelRun with_barrier(int count, const std::string& body, unsigned threads = 64) {
  KernelRun kernel;
  kernel.declarations = ".shared .align 128 .b8 s[4096];";
  kernel.threads = threads;
  kernel.body = fmt::format(
      "mov.u32 %r20, s; setp.eq.u32 %p1, %r2, 0; setp.lt.u32 %p2, %r2, 32;\n"
      "@%p1 mbarrier.init.shared::cta.b64 [%r20], {};\n"
      "@%p1 fence.mbarrier_init.release.cluster;\n"
      "bar.sync 0;\n{}",
      count, body);
  return kernel;
}
constexpr int kFirst = 4;  // line of `body` in with_barrier

// Waits at the barrier of address register `barrier` for `parity`, as compilers spell it.
std::string wait(const std::string& label, const std::string& barrier, const std::string& parity) {
  return fmt::format(
      "{0}: mbarrier.try_wait.parity.shared::cta.b64 %p9, [{1}], {2};\n@!%p9 bra {0};\n", label,
      barrier, parity);
}

const std::string kStoreR10 =
    "mul.wide.u32 %rd50, %r1, 8;\nadd.s64 %rd51, %rd1, %rd50;\ncvt.u64.u32 %rd52, %r10;\n"
    "st.global.u64 [%rd51], %rd52;\n";

}  // namespace

TEST_CASE("who has seen an mbarrier's phase complete comes after those who arrived in it") {
  // Warp 0 writes, arrives; warp 1 waits, reads. Then the other way round in the next phase.
  const std::string body =
      "add.u32 %r21, %r20, 64;\nmad.lo.u32 %r22, %r2, 4, %r21;\n"
      "@%p2 st.shared.u32 [%r22], %r2;\n"
      "@%p2 mbarrier.arrive.shared::cta.b64 _, [%r20];\n"
      "@%p2 bra SECOND;\n" +
      wait("W0", "%r20", "0") + "ld.shared.u32 %r10, [%r22+-128];\nSECOND:\n";
  KernelRun kernel = with_barrier(32, body + kStoreR10);
  const auto out = results(kernel);
  for (unsigned t = 32; t < 64; ++t) CHECK(out[t] == t - 32);
  // Without the wait nothing orders the read.
  kernel.body.replace(kernel.body.find("W0:"), wait("W0", "%r20", "0").size(), "");
  const FaultKind kind = fault_of(kernel).kind;
  CHECK((kind == FaultKind::shared_race || kind == FaultKind::uninitialised_read));
}

TEST_CASE("one lane that arrives for its warp speaks for all only behind a warp barrier") {
  const auto body = [](const char* between) {
    return "add.u32 %r21, %r20, 64;\nmad.lo.u32 %r22, %r2, 4, %r21;\n"
           "@%p2 st.shared.u32 [%r22], %r2;\n@%p2 bra ARRIVE;\n" +
           wait("W0", "%r20", "0") + "ld.shared.u32 %r10, [%r22+-128];\nbra END;\nARRIVE:\n" +
           between + "@%p1 mbarrier.arrive.shared::cta.b64 _, [%r20];\nEND:\n";
  };
  check_clean(with_barrier(1, body("bar.warp.sync -1;\n")));
  const Fault fault = fault_of(with_barrier(1, body("")));
  CHECK(fault.kind == FaultKind::shared_race);
  CHECK(fault.text.find("thread (33,0,0): reads 4 bytes at shared+0x44 that thread 1 writes") !=
        std::string::npos);
}

TEST_CASE("phases and states count up, and waits tell the one in progress from the one before") {
  const auto out = results(with_barrier(1,
                                        "mbarrier.arrive.shared::cta.b64 %rd5, [%r20];\n"
                                        "mbarrier.arrive.shared::cta.b64 %rd6, [%r20];\n"
                                        "mbarrier.test_wait.shared::cta.b64 %p3, [%r20], %rd6;\n"
                                        "mbarrier.test_wait.parity.shared.b64 %p4, [%r20], 1;\n"
                                        "mbarrier.test_wait.parity.shared.b64 %p5, [%r20], 0;\n"
                                        "mbarrier.arrive.shared::cta.b64 %rd7, [%r20], 1;\n"
                                        "mbarrier.test_wait.shared::cta.b64 %p6, [%r20], %rd7;\n"
                                        "selp.u32 %r11, 1, 0, %p3;\nselp.u32 %r12, 2, 0, %p4;\n"
                                        "selp.u32 %r13, 4, 0, %p5;\nselp.u32 %r14, 8, 0, %p6;\n"
                                        "add.u32 %r10, %r11, %r12;\nadd.u32 %r10, %r10, %r13;\n"
                                        "add.u32 %r10, %r10, %r14;\n" +
                                            kStoreR10,
                                        1));
  CHECK(out[0] == 1 + 2 + 8);  // phase 1 is over, parity 0 means phase 2, in progress; then over
}

TEST_CASE("an mbarrier can be used anew behind mbarrier.inval, by generic address too") {
  check_clean(with_barrier(1,
                           "cvt.u64.u32 %rd5, %r20;\ncvta.shared.u64 %rd6, %rd5;\n"
                           "mbarrier.arrive.b64 %rd7, [%rd6];\n"
                           "mbarrier.inval.b64 [%rd6];\nst.shared.u64 [%r20], 0;\n"
                           "mbarrier.init.b64 [%rd6], 1;\nmbarrier.arrive.b64 %rd7, [%rd6];",
                           1));
}

TEST_CASE("a phase also waits for the bytes that were announced to it") {
  const std::string copy =
      "add.u32 %r21, %r20, 64;\n"
      "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], {};\n"
      "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r21], [%rd2], 32, "
      "[%r20];\n";
  const auto body = [&](int bytes) {
    std::string text = copy;
    text.replace(text.find("{}"), 2, std::to_string(bytes));
    return text + wait("W0", "%r20", "0") + "ld.shared.u32 %r10, [%r21];\n";
  };
  check_clean(with_barrier(1, body(32)));
  check_fault(with_barrier(1, body(48)), FaultKind::deadlock, kFirst + 3, 32,
              "warp 1 at line 27 for the mbarrier at shared+0x0 (phase 0: 0 of 1 arrivals and 16 "
              "bytes to come)");
  check_fault(with_barrier(1, body(16)), FaultKind::mbarrier_misuse, kFirst + 2, 0,
              "a copy of 32 bytes is more than was announced to the mbarrier at shared+0x0");
}

TEST_CASE("bytes that nobody announced, or nobody waited for, are reported when the CTA ends") {
  const std::string copy =
      "add.u32 %r21, %r20, 64;\n"
      "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r21], [%rd2], 32, "
      "[%r20];\n";
  Fault fault = fault_of(with_barrier(2, copy));
  CHECK(fault.kind == FaultKind::mbarrier_misuse);
  CHECK(fault.text.find("the CTA ends with bytes that nobody announced: the mbarrier at "
                        "shared+0x0 (phase 0: 2 of 2 arrivals to come, 32 bytes came") !=
        std::string::npos);
  fault = fault_of(
      with_barrier(1, "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 32;\n" + copy));
  CHECK(fault.text.find("the CTA ends without having waited for the copies") != std::string::npos);
}

TEST_CASE("more arrivals than a phase takes are reported") {
  check_fault(with_barrier(2, "mbarrier.arrive.shared::cta.b64 _, [%r20], 3;", 1),
              FaultKind::mbarrier_misuse, kFirst, 0,
              "3 arrivals at the mbarrier at shared+0x0 (phase 0: 2 of 2 arrivals");
  check_fault(with_barrier(1, "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 1048576;", 1),
              FaultKind::mbarrier_misuse, kFirst, 0, "a phase counts up to 1048575");
}

TEST_CASE("an mbarrier must be initialised, ordered before its use, and let alone") {
  check_fault(with_barrier(1, "mbarrier.arrive.shared::cta.b64 _, [%r20+8];", 1),
              FaultKind::mbarrier_misuse, kFirst, 0, "no mbarrier was initialised at shared+0x8");
  check_fault(with_barrier(1, "mbarrier.init.shared::cta.b64 [%r20], 1;", 1),
              FaultKind::mbarrier_misuse, kFirst, 0, "mbarrier.init of the live mbarrier");
  check_fault(with_barrier(1, "ld.shared.u32 %r10, [%r20+4];", 1), FaultKind::mbarrier_misuse,
              kFirst, 0, "reads 4 bytes at shared+0x4 that hold an mbarrier");
  check_fault(with_barrier(1, "st.shared.u32 [%r20], 1;", 1), FaultKind::mbarrier_misuse, kFirst, 0,
              "writes 4 bytes at shared+0x0 that hold an mbarrier");
  KernelRun kernel = with_barrier(64, "mbarrier.arrive.shared::cta.b64 _, [%r20];");
  kernel.body.replace(kernel.body.find("bar.sync 0;"), 11, "bar.warp.sync -1;");
  check_fault(kernel, FaultKind::shared_race, kFirst, 32,
              "uses the mbarrier at shared+0x0 that thread 0 initialises, and nothing orders");
}

TEST_CASE("a copy may complete on an mbarrier only behind a fence after its init") {
  const std::string body =
      "add.u32 %r21, %r20, 64;\n"
      "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 16;\n"
      "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r21], [%rd2], 16, "
      "[%r20];\n" +
      wait("W0", "%r20", "0");
  KernelRun kernel = with_barrier(1, body);
  const std::string fence = "fence.mbarrier_init.release.cluster";
  kernel.body.replace(kernel.body.find(fence), fence.size(), "fence.proxy.async");
  check_clean(kernel);
  kernel.body.replace(kernel.body.find("fence.proxy.async"), 17, "membar.cta");
  check_fault(kernel, FaultKind::missing_proxy_fence, kFirst + 2, 0,
              "without a fence.mbarrier_init or fence.proxy.async after its init");
}

TEST_CASE("a wait that an older phase could have answered is reported") {
  // Warp 0 completes three phases before warp 1 looks for the first or the third.
  const std::string body =
      "@!%p2 bra WAIT;\n"
      "@%p1 mbarrier.arrive.shared::cta.b64 _, [%r20];\n"
      "@%p1 mbarrier.arrive.shared::cta.b64 _, [%r20];\n"
      "@%p1 mbarrier.arrive.shared::cta.b64 _, [%r20];\nbra END;\nWAIT:\n" +
      wait("W0", "%r20", "0") + "END:\n";
  check_fault(
      with_barrier(1, body), FaultKind::mbarrier_misuse, kFirst + 6, 32,
      "waits for parity 0 and sees phase 2 complete, but as far as this thread knows phase 0 "
      "could have answered");
}

TEST_CASE("warps that wait for mbarriers that nobody completes are a deadlock, each named") {
  const std::string body =
      "@%p2 mbarrier.arrive.shared::cta.b64 _, [%r20];\n" + wait("W0", "%r20", "0");
  check_fault(with_barrier(64, body), FaultKind::deadlock, kFirst + 1, 32,
              "warp 0 at line 25 for the mbarrier at shared+0x0 (phase 0: 32 of 64 arrivals and 0 "
              "bytes to come), warp 1 at line 25 for the mbarrier");
}

TEST_CASE("a bounded wait gives up when nothing else moves, and the program goes on") {
  const auto out = results(
      with_barrier(2,
                   "mbarrier.try_wait.parity.shared::cta.b64 %p9, [%r20], 0, 100;\n"
                   "selp.u32 %r10, 1, 7, %p9;\nmbarrier.arrive.shared::cta.b64 _, [%r20];\n" +
                       kStoreR10,
                   1));
  CHECK(out[0] == 7);
}

}  // namespace nvfp4::emulator
