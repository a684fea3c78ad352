// SPDX-License-Identifier: Apache-2.0
// The smaller instructions of sm_90 on the emulated device: elect.sync, setmaxnreg and the CTA's
// pool of registers, stmatrix.
#include <doctest/doctest.h>

#include "tests/emulator_kernel.h"

namespace nvfp4::emulator {
namespace {

const std::string kStoreR10 =
    "mul.wide.u32 %rd50, %r1, 8;\nadd.s64 %rd51, %rd1, %rd50;\ncvt.u64.u32 %rd52, %r10;\n"
    "st.global.u64 [%rd51], %rd52;\n";

KernelRun kernel_with(const std::string& body, unsigned threads) {
  KernelRun kernel;
  kernel.threads = threads;
  kernel.body = body;
  return kernel;
}

// The fault of `body` in a kernel of two warpgroups whose launch bounds leave 128 registers a
// thread.
Fault pool_fault(const std::string& body) {
  PreparedKernel prepared(kernel_with("", 256));
  std::string text = kernel_text(body);
  const std::string before = "out_pointer, .param .u64 in_pointer)";
  text.replace(text.find(before), before.size(), before + " .maxntid 256 .minnctapersm 2");
  prepared.request.program = Program::parse(text);
  const LaunchResult result = run(prepared.request, prepared.memory);
  return result.fault.value_or(Fault{FaultKind::trap, "none"});
}

const std::string kSecondGroup = "setp.ge.u32 %p1, %r2, 128;\n@%p1 bra SECOND;\n";

}  // namespace

TEST_CASE("elect.sync elects the first lane of the mask") {
  const auto out = results(kernel_with(
      "setp.ge.u32 %p1, %r2, 8;\nmov.u32 %r10, 99;\n@!%p1 bra END;\n"
      "elect.sync %r11|%p2, 0xffffff00;\nselp.u32 %r12, 100, 0, %p2;\nadd.u32 %r10, %r11, %r12;\n"
      "END:\n" +
          kStoreR10,
      32));
  for (unsigned t = 0; t < 32; ++t) CHECK(out[t] == (t < 8 ? 99 : t == 8 ? 108 : 8));
  check_fault(kernel_with("setp.ge.u32 %p1, %r2, 8;\n@%p1 elect.sync _|%p2, -1;", 32),
              FaultKind::barrier_divergence, 1, 0, "names this thread, which is not here");
}

TEST_CASE("registers move from one warpgroup to another") {
  CHECK(pool_fault(kSecondGroup + "setmaxnreg.inc.sync.aligned.u32 232;\nbra END;\n"
                                  "SECOND: setmaxnreg.dec.sync.aligned.u32 24;\nEND:\n")
            .text == "none");
}

TEST_CASE("a setmaxnreg.inc that the pool can never satisfy is a deadlock that says why") {
  const Fault fault = pool_fault(kSecondGroup +
                                 "setmaxnreg.inc.sync.aligned.u32 240;\nbra END;\n"
                                 "SECOND: setmaxnreg.dec.sync.aligned.u32 24;\nEND:\n");
  CHECK(fault.kind == FaultKind::deadlock);
  // Three warps of the first group got 112 x 32 registers of the 104 x 128 given back.
  CHECK(fault.text.find("warp 3 at line 22 for registers: it has 128 a thread, the CTA's pool 2560 "
                        "left") != std::string::npos);
}

TEST_CASE("setmaxnreg beyond the pool, upwards by dec, or of an odd count is reported") {
  const auto text = [](const char* instruction) { return pool_fault(instruction).text; };
  CHECK(text("setmaxnreg.dec.sync.aligned.u32 136;")
            .find("to 136 registers by a thread that has 128") != std::string::npos);
  CHECK(text("setmaxnreg.dec.sync.aligned.u32 20;").find("not a multiple of 8 in 24 .. 256") !=
        std::string::npos);
  PreparedKernel prepared(kernel_with("", 128));
  std::string kernel = kernel_text("setmaxnreg.inc.sync.aligned.u32 240;");
  const std::string before = "out_pointer, .param .u64 in_pointer)";
  kernel.replace(kernel.find(before), before.size(), before + " .maxntid 128 .maxnreg 64");
  prepared.request.program = Program::parse(kernel);
  const LaunchResult result = run(prepared.request, prepared.memory);
  REQUIRE(result.fault.has_value());
  CHECK(result.fault->kind == FaultKind::register_pool);
  CHECK(
      result.fault->text.find("to 240 registers for a warpgroup exceeds the CTA's pool of 8192") !=
      std::string::npos);
}

TEST_CASE("stmatrix stores what ldmatrix loads, transposed or not") {
  for (const std::string count : {"1", "2", "4"}) {
    for (const std::string order : {"", ".trans"}) {
      CAPTURE(count);
      CAPTURE(order);
      const std::string regs = count == "1"   ? "{%r10}"
                               : count == "2" ? "{%r10, %r11}"
                                              : "{%r10, %r11, %r12, %r13}";
      const std::string loaded = count == "1"   ? "{%r20}"
                                 : count == "2" ? "{%r20, %r21}"
                                                : "{%r20, %r21, %r22, %r23}";
      KernelRun kernel = kernel_with(
          "mov.u32 %r30, s; mad.lo.u32 %r31, %r2, 16, %r30;\n"
          "mad.lo.u32 %r10, %r2, 131072, 5; add.u32 %r11, %r10, 70000; add.u32 %r12, %r10, 140001; "
          "add.u32 %r13, %r10, 210003;\n"
          "stmatrix.sync.aligned.m8n8.x" +
              count + order + ".shared.b16 [%r31], " + regs +
              ";\n"
              "bar.warp.sync -1;\n"
              "ldmatrix.sync.aligned.m8n8.x" +
              count + order + ".shared.b16 " + loaded +
              ", [%r31];\n"
              "xor.b32 %r10, %r10, %r20;\n" +
              kStoreR10,
          32);
      kernel.declarations = ".shared .align 16 .b8 s[512];";
      for (unsigned t = 0; t < 32; ++t) CHECK(results(kernel)[t] == 0);
    }
  }
  // Row 1 of the matrix is what lanes 4 .. 7 hold.
  KernelRun kernel = kernel_with(
      "mov.u32 %r30, s; mad.lo.u32 %r31, %r2, 16, %r30; add.u32 %r10, %r2, 65536;\n"
      "stmatrix.sync.aligned.m8n8.x1.shared::cta.b16 [%r31], {%r10};\nbar.warp.sync -1;\n"
      "mad.lo.u32 %r31, %r2, 4, %r30; setp.lt.u32 %p1, %r2, 32;\nld.shared.u32 %r10, [%r31];\n" +
          kStoreR10,
      32);
  kernel.declarations = ".shared .align 16 .b8 s[512];";
  const auto out = results(kernel);
  for (unsigned t = 0; t < 32; ++t) CHECK(out[t] == t + 65536);
}

}  // namespace nvfp4::emulator
