// SPDX-License-Identifier: Apache-2.0
// The emulated device's parser, memory, divergence, barriers, warp-wide instructions and launches,
// each by a small PTX kernel. Arithmetic is in emulator_arithmetic_test and emulator_half_test, the
// checks in emulator_checks_test.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <numeric>
#include <random>

#include "runtime/emulator/half_float.h"
#include "tests/emulator_kernel.h"

namespace nvfp4::emulator {
namespace {

std::string parse_error(const std::string& text) {
  try {
    Program::parse(text);
  } catch (const PtxError& error) {
    CHECK(fmt::format("PTX line {}: ", error.line) ==
          std::string(error.what()).substr(0, std::string(error.what()).find(':') + 2));
    return error.what();
  }
  return "";
}

// Appends to a body: out[thread] = %r10.
const std::string kStore32 = R"(
mul.wide.u32 %rd50, %r1, 8;
add.s64 %rd51, %rd1, %rd50;
cvt.u64.u32 %rd52, %r10;
st.global.u64 [%rd51], %rd52;
)";

std::string at_line(int offset) { return fmt::format("PTX line {}", kBodyLine + offset); }

}  // namespace

TEST_CASE("an unknown instruction, modifier or register is an error that names its line") {
  CHECK(parse_error(kernel_text("add.s32 %r10, %r11, %r12;\nfrob.u32 %r10, %r11;")) ==
        at_line(1) + ": unknown instruction 'frob.u32'");
  CHECK(parse_error(kernel_text("add.quick.s32 %r10, %r11, %r12;")) ==
        at_line(0) + ": unknown instruction 'add.quick.s32'");
  CHECK(parse_error(kernel_text("ld.global.L3::keep.u32 %r10, [%rd1];")) ==
        at_line(0) + ": unknown form of 'ld.global.L3::keep.u32'");
  CHECK(parse_error(kernel_text("mov.u32 %r10, %envreg3;")) ==
        at_line(0) + ": unknown register '%envreg3'");
  CHECK(parse_error(kernel_text("bra NOWHERE;")) == at_line(0) + ": unknown label 'NOWHERE'");
  CHECK(parse_error(kernel_text("add.s32 %r10, %rd11, %r12;"))
            .find("of 64 bits for a 32-bit operand") != std::string::npos);
  CHECK(parse_error(kernel_text("add.s32 %r10, %r11;")) ==
        at_line(0) + ": 'add.s32' has too few operands");
  CHECK(parse_error(kernel_text("mov.b32 {%rs1, %rs2, %rs3}, %r1;")) ==
        at_line(0) + ": unknown form of 'mov.b32'");
  CHECK(parse_error(".version 9.0\n.target sm_90\n.address_size 64\n.banana x;") ==
        "PTX line 4: unknown directive '.banana'");
  CHECK(parse_error(".version 10.0\n") == "PTX line 1: PTX ISA 10.0 is outside 6.0 .. 9.x");
  CHECK(parse_error(".version 9.0\n.address_size 32\n") == "PTX line 2: address size 32 is not 64");
  CHECK(parse_error(kernel_text("/* never closed")) == at_line(0) + ": comment without end");
}

TEST_CASE("a module tells what a launch of its kernels needs") {
  const auto program = Program::parse(R"(.version 8.3
.target sm_80
.address_size 64
.extern .shared .align 128 .b8 dynamic[];
.visible .entry second(.param .u32 a, .param .align 8 .b8 b[80], .param .u64 c)
.maxntid 64, 2, 1
.minnctapersm 2
{
  .shared .align 16 .b8 first[20];
  .shared .u32 word;
  ret;
}
)");
  REQUIRE(program->find_entry("second") != nullptr);
  CHECK(program->find_entry("first") == nullptr);
  const EntryInfo& info = *program->find_entry("second");
  CHECK(info.param_bytes == 96);
  CHECK(info.static_smem_bytes == 24);
  CHECK(info.max_threads == 128);
  CHECK_FALSE(info.waits_for_grid);
}

TEST_CASE("diverged lanes run both sides of a branch and meet behind it") {
  KernelRun kernel;
  kernel.body = R"(
and.b32 %r11, %r2, 1;
setp.eq.u32 %p1, %r11, 0;
mov.u32 %r12, 7;
@%p1 bra EVEN;
add.u32 %r12, %r12, 100;
bra.uni JOIN;
EVEN:
add.u32 %r12, %r12, 200;
setp.lt.u32 %p2, %r2, 16;
@%p2 bra JOIN;
add.u32 %r12, %r12, 1000;
JOIN:
activemask.b32 %r13;
popc.b32 %r13, %r13;
mad.lo.u32 %r10, %r13, 10000, %r12;
)" + kStore32;
  const auto out = results(kernel);
  for (unsigned lane = 0; lane < 32; ++lane) {
    const unsigned own = lane % 2 ? 107 : lane < 16 ? 207 : 1207;
    CHECK(out[lane] == 320000 + own);
  }
}

TEST_CASE("lanes leave a loop one by one and meet behind it") {
  KernelRun kernel;
  kernel.body = R"(
mov.u32 %r10, 0;
LOOP:
setp.ge.u32 %p1, %r10, %r2;
@%p1 bra DONE;
add.u32 %r10, %r10, 1;
bra.uni LOOP;
DONE:
activemask.b32 %r13;
popc.b32 %r13, %r13;
shl.b32 %r13, %r13, 8;
or.b32 %r10, %r10, %r13;
)" + kStore32;
  const auto out = results(kernel);
  for (unsigned lane = 0; lane < 32; ++lane) CHECK(out[lane] == (32u << 8 | lane));
}

TEST_CASE("lanes that return inside nested branches do not hold back the others' barrier") {
  KernelRun kernel;
  kernel.threads = 64;
  kernel.body = R"(
setp.gt.u32 %p1, %r2, 7;
@%p1 bra OUTER;
setp.eq.u32 %p2, %r2, 3;
@%p2 bra END;
OUTER:
bar.sync 0;
mov.u32 %r10, 5;
)" + kStore32 + "END:";
  PreparedKernel prepared(kernel);
  const LaunchResult result = run(prepared.request, prepared.memory);
  if (result.fault) FAIL(result.fault->text);
  CHECK(prepared.word(2) == 5);
  CHECK(prepared.word(63) == 5);
  CHECK_FALSE(prepared.memory.initialised(prepared.out + 3 * 8, 8));
}

TEST_CASE("an indexed branch sends each lane to its target") {
  KernelRun kernel;
  kernel.body = R"(
rem.u32 %r11, %r2, 3;
table: .branchtargets ZERO, ONE, TWO;
brx.idx %r11, table;
ZERO: mov.u32 %r10, 10; bra JOIN;
ONE: mov.u32 %r10, 11; bra JOIN;
TWO: mov.u32 %r10, 12;
JOIN:
activemask.b32 %r12;
popc.b32 %r12, %r12;
mad.lo.u32 %r10, %r12, 100, %r10;
)" + kStore32;
  const auto out = results(kernel);
  for (unsigned lane = 0; lane < 32; ++lane) CHECK(out[lane] == 3210 + lane % 3);
}

TEST_CASE("shared, local, constant, variable and generic memory hold what is stored") {
  KernelRun kernel;
  kernel.declarations =
      ".shared .align 16 .b8 buffer[1024]; .local .align 16 .b8 depot[64]; "
      ".const .align 4 .b8 table[8] = {1, 0, 0, 0, 255, 0, 0, 128}; .global .u32 counter = 5;";
  kernel.body = R"(
mul.lo.u32 %r20, %r2, 16;
mov.u32 %r21, buffer;
add.u32 %r21, %r21, %r20;
st.shared.v4.u32 [%r21], {%r2, 7, %r20, %r2};
mov.u64 %rd20, buffer;
cvta.shared.u64 %rd21, %rd20;
cvt.u64.u32 %rd22, %r20;
add.s64 %rd21, %rd21, %rd22;
ld.u32 %r22, [%rd21+8];
mov.u64 %rd23, depot;
cvta.local.u64 %rd24, %rd23;
st.u64 [%rd24+8], %rd22;
ld.local.u16 %rs1, [depot+8];
cvt.u32.u16 %r23, %rs1;
ld.const.s8 %r24, [table+7];
ld.global.u32 %r25, [counter];
add.u32 %r10, %r22, %r23;
add.u32 %r10, %r10, %r24;
add.u32 %r10, %r10, %r25;
)" + kStore32;
  const auto out = results(kernel);
  for (unsigned lane = 0; lane < 32; ++lane)
    CHECK(out[lane] == static_cast<uint32_t>(32 * lane - 128 + 5));
}

TEST_CASE("shuffles move values and say which lanes were inside") {
  struct Case {
    const char* text;
    int (*source)(int);
    bool (*inside)(int);
  };
  const Case cases[] = {
      {"shfl.sync.bfly.b32 %r10|%p1, %r2, 5, 31, -1;", [](int l) { return l ^ 5; },
       [](int) { return true; }},
      {"shfl.sync.down.b32 %r10|%p1, %r2, 3, 31, -1;", [](int l) { return l + 3 < 32 ? l + 3 : l; },
       [](int l) { return l + 3 < 32; }},
      {"shfl.sync.up.b32 %r10|%p1, %r2, 3, 0, -1;", [](int l) { return l >= 3 ? l - 3 : l; },
       [](int l) { return l >= 3; }},
      {"shfl.sync.idx.b32 %r10|%p1, %r2, 9, 31, -1;", [](int) { return 9; },
       [](int) { return true; }},
      {"shfl.sync.down.b32 %r10|%p1, %r2, 3, 6175, -1;",
       [](int l) { return l % 8 + 3 < 8 ? l + 3 : l; },
       [](int l) { return l % 8 + 3 < 8; }},  // segments of 8
  };
  for (const Case& c : cases) {
    KernelRun kernel;
    kernel.body =
        std::string(c.text) + " selp.u32 %r11, 256, 0, %p1; or.b32 %r10, %r10, %r11;" + kStore32;
    const auto out = results(kernel);
    for (int lane = 0; lane < 32; ++lane) {
      CHECK(out[lane] == static_cast<unsigned>(c.source(lane) + (c.inside(lane) ? 256 : 0)));
    }
  }
}

TEST_CASE("votes, matches and warp reductions see the lanes that are there") {
  KernelRun kernel;
  kernel.body = R"(
setp.lt.u32 %p1, %r2, 12;
vote.sync.ballot.b32 %r11, %p1, -1;
vote.sync.any.pred %p2, %p1, -1;
vote.sync.all.pred %p3, %p1, -1;
and.b32 %r12, %r2, 3;
match.any.sync.b32 %r13, %r12, -1;
redux.sync.add.u32 %r14, %r2, -1;
redux.sync.max.s32 %r15, %r2, -1;
selp.u32 %r16, 1, 0, %p2;
selp.u32 %r17, 1, 0, %p3;
xor.b32 %r10, %r11, %r13;
mad.lo.u32 %r10, %r14, %r15, %r10;
mad.lo.u32 %r10, %r16, 3, %r10;
add.u32 %r10, %r10, %r17;
)" + kStore32;
  const auto out = results(kernel);
  for (unsigned lane = 0; lane < 32; ++lane) {
    const uint32_t match = 0x11111111u << lane % 4;
    CHECK(out[lane] == static_cast<uint32_t>((0xfffu ^ match) + 496 * 31 + 3));
  }
}

TEST_CASE("ldmatrix gives each lane its pair, plain and transposed") {
  KernelRun kernel;
  kernel.declarations = ".shared .align 16 .b8 m[512];";
  const auto body = [](const char* trans) {
    return fmt::format(R"(
mov.u32 %r20, m;
mad.lo.u32 %r21, %r2, 16, %r20;
mul.lo.u32 %r22, %r2, 8;
mov.u32 %r23, 0;
FILL:
add.u32 %r24, %r22, %r23;
cvt.u16.u32 %rs1, %r24;
mad.lo.u32 %r25, %r23, 2, %r21;
st.shared.u16 [%r25], %rs1;
add.u32 %r23, %r23, 1;
setp.lt.u32 %p1, %r23, 8;
@%p1 bra FILL;
bar.warp.sync -1;
ldmatrix.sync.aligned.m8n8.x4{}.shared.b16 {{%r30, %r31, %r32, %r33}}, [%r21];
mul.wide.u32 %rd3, %r1, 16;
add.s64 %rd4, %rd1, %rd3;
st.global.v4.u32 [%rd4], {{%r30, %r31, %r32, %r33}};
)",
                       trans);
  };
  for (const bool transposed : {false, true}) {
    kernel.body = body(transposed ? ".trans" : "");
    const auto out = results(kernel);
    for (int lane = 0; lane < 32; ++lane) {
      for (int m = 0; m < 4; ++m) {
        const uint32_t got = static_cast<uint32_t>(out[lane * 2 + m / 2] >> (m % 2 * 32));
        const auto element = [&](int row, int column) {
          return static_cast<uint32_t>((m * 8 + row) * 8 + column);
        };
        const int a = lane / 4;
        const int b = lane % 4 * 2;
        const uint32_t want = transposed ? element(b + 1, a) << 16 | element(b, a)
                                         : element(a, b + 1) << 16 | element(a, b);
        CHECK(got == want);
      }
    }
  }
}

namespace {

// Integers for one mma: A is 16 x depth, B depth x 8, C 16 x 8.
struct Matrices {
  explicit Matrices(int k) : depth(k), a(16 * k), b(k * 8), c(16 * 8) {
    std::mt19937 random(3);
    for (int& x : a) x = static_cast<int>(random() % 17) - 8;
    for (int& x : b) x = static_cast<int>(random() % 17) - 8;
    for (int& x : c) x = static_cast<int>(random() % 2001) - 1000;
  }
  int product(int row, int column) const {
    int sum = c[row * 8 + column];
    for (int k = 0; k < depth; ++k) sum += a[row * depth + k] * b[k * 8 + column];
    return sum;
  }
  int depth;
  std::vector<int> a, b, c;
};

// Fragments as the PTX manual draws them: a lane's 16 words hold its A, B (from 4 on), C (from 8
// on).
std::vector<uint64_t> fragments(const Matrices& m, uint32_t (*narrow)(int)) {
  std::vector<uint64_t> words(32 * 8, 0);
  const auto set = [&](int lane, int word, uint32_t bits) {
    words[lane * 8 + word / 2] |= uint64_t{bits} << (word % 2 * 32);
  };
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4;
    const int t = lane % 4;
    for (int r = 0; r < m.depth / 4; ++r) {
      const int* at = &m.a[(g + 8 * (r % 2)) * m.depth + 2 * t + 8 * (r / 2)];
      set(lane, r, narrow(at[0]) | narrow(at[1]) << 16);
    }
    for (int r = 0; r < m.depth / 8; ++r) {
      const int* at = &m.b[(2 * t + 8 * r) * 8 + g];
      set(lane, 4 + r, narrow(at[0]) | narrow(at[8]) << 16);
    }
    for (int r = 0; r < 4; ++r) {
      const auto value = static_cast<float>(m.c[(g + 8 * (r / 2)) * 8 + 2 * t + r % 2]);
      set(lane, 8 + r, std::bit_cast<uint32_t>(value));
    }
  }
  return words;
}

void check_mma(int depth, const char* type, uint32_t (*narrow)(int)) {
  INFO("depth " << depth << ", " << type);
  const Matrices matrices(depth);
  KernelRun kernel;
  kernel.in = fragments(matrices, narrow);
  kernel.body = fmt::format(R"(
mul.wide.u32 %rd3, %r1, 64;
add.s64 %rd4, %rd2, %rd3;
ld.global.v4.u32 {{%r20, %r21, %r22, %r23}}, [%rd4];
ld.global.v2.u32 {{%r24, %r25}}, [%rd4+16];
ld.global.v4.f32 {{%f10, %f11, %f12, %f13}}, [%rd4+32];
mma.sync.aligned.m16n8k{0}.row.col.f32.{1}.{1}.f32
  {{%f10, %f11, %f12, %f13}}, {2}, {3}, {{%f10, %f11, %f12, %f13}};
mul.wide.u32 %rd5, %r1, 16;
add.s64 %rd6, %rd1, %rd5;
st.global.v4.f32 [%rd6], {{%f10, %f11, %f12, %f13}};
)",
                            depth, type, depth == 16 ? "{%r20, %r21, %r22, %r23}" : "{%r20, %r21}",
                            depth == 16 ? "{%r24, %r25}" : "{%r24}");
  const auto out = results(kernel);
  for (int lane = 0; lane < 32; ++lane) {
    for (int r = 0; r < 4; ++r) {
      const auto bits = static_cast<uint32_t>(out[lane * 2 + r / 2] >> (r % 2 * 32));
      const int want = matrices.product(lane / 4 + 8 * (r / 2), lane % 4 * 2 + r % 2);
      CHECK(std::bit_cast<float>(bits) == static_cast<float>(want));
    }
  }
}

}  // namespace

TEST_CASE("mma multiplies integer matrices exactly, in both formats and both depths") {
  for (const int depth : {16, 8}) {
    check_mma(depth, "bf16", [](int x) { return uint32_t{Bf16::narrow(static_cast<float>(x))}; });
    check_mma(depth, "f16", [](int x) { return uint32_t{Fp16::narrow(static_cast<float>(x))}; });
  }
}

}  // namespace nvfp4::emulator
