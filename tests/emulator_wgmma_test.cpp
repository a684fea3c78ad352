// SPDX-License-Identifier: Apache-2.0
// wgmma on the emulated device: products of small integers, compared bit for bit, for every width,
// both types, both sources of A and every swizzle; and for each check a smallest kernel.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <random>

#include "runtime/emulator/half_float.h"
#include "tests/emulator_kernel.h"

namespace nvfp4::emulator {
namespace {

constexpr int kDepth = 16;
constexpr int kBAt = 16384;  // of B in shared memory; A starts at 0

// One product [64,16] x [16,columns]. `in` holds A and then B, each as it shall lie in shared
// memory.
struct Product {
  int columns = 8;
  const char* type = "bf16";
  bool a_in_registers = true;
  int swizzle = 128;  // bytes of a row; 0: none
  const char* scale_d = "1";
  int scale_a = 1;
  int scale_b = 1;
};

// Offset of element [row][k] of a K-major operand in its layout.
int place(int row, int k, int swizzle) {
  if (swizzle == 0) return row / 8 * 256 + k / 8 * 128 + row % 8 * 16 + k % 8 * 2;
  const int plain = row * swizzle + k * 2;
  return plain ^ (plain >> 3 & (swizzle - 16));
}

uint64_t descriptor(int address, int swizzle) {
  const uint64_t mode = swizzle == 0 ? 0 : swizzle == 128 ? 1 : swizzle == 64 ? 2 : 3;
  const uint64_t stride = swizzle == 0 ? 256 : 8 * swizzle;
  return static_cast<uint64_t>(address) >> 4 | uint64_t{128 >> 4} << 16 | (stride >> 4) << 32 |
         mode << 62;
}

std::string accumulators(int columns) {
  std::string list;
  for (int i = 0; i < columns / 2; ++i) list += fmt::format("{}%a{}", i == 0 ? "" : ", ", i);
  return "{" + list + "}";
}

// Copies `in` to shared memory, starts sums at 1, multiplies, and stores sum i of a thread as word
// [i][thread].
std::string body_of(const Product& p) {
  std::string body =
      "mov.u32 %r20, s; mov.u32 %r21, %r2;\n"
      "COPY: mul.wide.u32 %rd3, %r21, 8; add.s64 %rd4, %rd2, %rd3; ld.global.u64 %rd5, [%rd4];\n"
      "mad.lo.u32 %r22, %r21, 8, %r20; st.shared.u64 [%r22], %rd5;\n"
      "add.u32 %r21, %r21, 128; setp.lt.u32 %p1, %r21, 6144; @%p1 bra COPY;\n"
      "fence.proxy.async.shared::cta; bar.sync 0;\n";
  for (int i = 0; i < p.columns / 2; ++i) body += fmt::format("mov.f32 %a{}, 0f3f800000;\n", i);
  std::string a = "%rd10";
  if (p.a_in_registers) {
    a = "{%r30, %r31, %r32, %r33}";
    body +=
        "and.b32 %r23, %r2, 31; shr.u32 %r24, %r2, 5; shr.u32 %r25, %r23, 2; and.b32 %r26, "
        "%r23, 3;\nmad.lo.u32 %r27, %r24, 16, %r25; mad.lo.u32 %r28, %r27, 32, %r20; "
        "mad.lo.u32 %r28, %r26, 4, %r28;\n";
    for (int r = 0; r < 4; ++r) {
      body += fmt::format("ld.shared.u32 %r{}, [%r28+{}];\n", 30 + r, r % 2 * 256 + r / 2 * 16);
    }
  }
  body += fmt::format(
      "mov.u64 %rd10, {};\nmov.u64 %rd11, {};\nwgmma.fence.sync.aligned;\n"
      "wgmma.mma_async.sync.aligned.m64n{}k16.f32.{}.{} {}, {}, %rd11, {}, {}, {}{}, 0;\n"
      "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n"
      "mul.wide.u32 %rd3, %r2, 4; add.s64 %rd4, %rd1, %rd3;\n",
      descriptor(0, p.swizzle), descriptor(kBAt, p.swizzle), p.columns, p.type, p.type,
      accumulators(p.columns), a, p.scale_d, p.scale_a, p.scale_b, p.a_in_registers ? "" : ", 0");
  for (int i = 0; i < p.columns / 2; ++i)
    body += fmt::format("st.global.f32 [%rd4+{}], %a{};\n", i * 512, i);
  return body;
}

KernelRun kernel_of(const Product& p) {
  KernelRun kernel;
  kernel.declarations = ".shared .align 1024 .b8 s[49152]; .reg .f32 %a<128>;";
  kernel.threads = 128;
  kernel.out_words = 64 * 256 / 2;
  kernel.in.assign(6144, 0);
  kernel.body = body_of(p);
  return kernel;
}

struct Operands {
  std::vector<int> a = std::vector<int>(64 * kDepth);
  std::vector<int> b;

  explicit Operands(int columns) : b(columns * kDepth) {
    std::mt19937 random(columns);
    for (int& v : a) v = static_cast<int>(random() % 15) - 7;
    for (int& v : b) v = static_cast<int>(random() % 15) - 7;
  }
};

void put(std::vector<uint64_t>& in, int offset, int value, const char* type) {
  const auto wide = static_cast<float>(value);
  const uint16_t bits = type == std::string("bf16") ? Bf16::narrow(wide) : Fp16::narrow(wide);
  std::memcpy(reinterpret_cast<std::byte*>(in.data()) + offset, &bits, 2);
}

void check(const Product& p) {
  CAPTURE(p.columns);
  CAPTURE(p.swizzle);
  const Operands operands(p.columns);
  KernelRun kernel = kernel_of(p);
  for (int row = 0; row < 64; ++row) {
    for (int k = 0; k < kDepth; ++k) {
      const int at = p.a_in_registers ? row * 32 + k * 2 : place(row, k, p.swizzle);
      put(kernel.in, at, operands.a[row * kDepth + k], p.type);
    }
  }
  for (int n = 0; n < p.columns; ++n) {
    for (int k = 0; k < kDepth; ++k)
      put(kernel.in, kBAt + place(n, k, p.swizzle), operands.b[n * kDepth + k], p.type);
  }
  PreparedKernel prepared(kernel);
  const LaunchResult result = run(prepared.request, prepared.memory);
  REQUIRE_MESSAGE(!result.fault, result.fault->text);
  int wrong = 0;
  for (int i = 0; i < p.columns / 2; ++i) {
    for (int t = 0; t < 128; ++t) {
      const int row = t / 32 * 16 + t % 32 / 4 + i % 4 / 2 * 8;
      const int n = i / 4 * 8 + t % 4 * 2 + i % 2;
      int sum = 0;
      for (int k = 0; k < kDepth; ++k)
        sum += operands.a[row * kDepth + k] * operands.b[n * kDepth + k];
      const int start = p.scale_d == std::string("1") ? 1 : 0;
      const auto expected = static_cast<float>(start + p.scale_a * p.scale_b * sum);
      const auto word = static_cast<uint32_t>(prepared.word((i * 128 + t) / 2) >> (t % 2 * 32));
      wrong += std::bit_cast<float>(word) != expected;
    }
  }
  CHECK(wrong == 0);
}

// A kernel of 8 columns, with `to` for `from` in its body.
KernelRun changed(const std::string& from, const std::string& to, Product p = {}) {
  KernelRun kernel = kernel_of(p);
  const size_t at = kernel.body.find(from);
  REQUIRE(at != std::string::npos);
  kernel.body.replace(at, from.size(), to);
  return kernel;
}

void check_refused(const KernelRun& kernel, FaultKind kind, const std::string& what) {
  const Fault fault = fault_of(kernel);
  INFO(fault.text);
  CHECK(fault.kind == kind);
  CHECK(fault.text.find(what) != std::string::npos);
}

}  // namespace

TEST_CASE("wgmma multiplies exactly for every width and both types") {
  for (int columns = 8; columns <= 256; columns += 8) {
    check({.columns = columns, .type = "bf16"});
    check({.columns = columns, .type = "f16"});
  }
}

TEST_CASE("operands lie in shared memory without a swizzle or with one of 32, 64 or 128 bytes") {
  for (const int swizzle : {0, 32, 64, 128}) {
    check({.columns = 64, .a_in_registers = false, .swizzle = swizzle});
    check({.columns = 40, .type = "f16", .a_in_registers = true, .swizzle = swizzle});
  }
}

TEST_CASE("scale-d drops the old sums, and signs of the operands multiply") {
  check({.columns = 16, .scale_d = "0"});
  check({.columns = 16, .scale_a = -1});
  check({.columns = 16, .scale_a = -1, .scale_b = -1});
}

TEST_CASE("forms of wgmma that are not run are refused with their line") {
  const auto refusal = [](const char* instruction) {
    try {
      Program::parse(kernel_text(instruction, ".reg .f32 %a<128>;"));
    } catch (const PtxError& error) {
      return std::string(error.what());
    }
    return std::string("taken");
  };
  const std::string start = "wgmma.mma_async.sync.aligned.";
  const std::string rest = " {%a0, %a1, %a2, %a3}, %rd3, %rd4, 1, 1, 1, 0, ";
  CHECK(refusal((start + "m64n8k16.f32.bf16.bf16" + rest + "0;").c_str()) == "taken");
  CHECK(refusal((start + "m64n8k16.f32.bf16.bf16" + rest + "1;").c_str()) ==
        fmt::format("PTX line {}: a transposed operand of wgmma is not run", kBodyLine));
  for (const char* form : {"m64n12k16.f32.bf16.bf16", "m64n8k8.f32.tf32.tf32",
                           "m64n8k16.f16.f16.f16", "m64n8k16.f32.bf16.f16"}) {
    CHECK(refusal((start + form + rest + "0;").c_str()) ==
          fmt::format("PTX line {}: unknown form of '{}{}'", kBodyLine, start, form));
  }
}

TEST_CASE("a descriptor must name aligned rows inside the CTA's memory") {
  const std::string b = std::to_string(descriptor(kBAt, 128));
  const auto with = [&](uint64_t bits) {
    return changed("%rd11, " + b, "%rd11, " + std::to_string(bits));
  };
  check_refused(with(descriptor(kBAt + 128, 128)), FaultKind::wgmma_misuse,
                "a swizzle of 128 bytes starts at multiples of 1024");
  check_refused(with(descriptor(kBAt + 112, 128)), FaultKind::wgmma_misuse,
                "whose 16 elements leave a row of 128 bytes");
  check_refused(with(descriptor(48 * 1024, 128)), FaultKind::wgmma_misuse,
                "for 8 rows leaves the CTA's 49152 bytes");
  check_refused(with(descriptor(kBAt, 128) | uint64_t{1} << 49), FaultKind::wgmma_misuse,
                "base offset 1");
}

TEST_CASE("shared memory that ld and st wrote reaches wgmma only through a proxy fence and order") {
  check_refused(
      changed("fence.proxy.async.shared::cta; bar", "bar"), FaultKind::missing_proxy_fence,
      "starts an asynchronous read of 16 bytes at shared+0x4000 that thread 0 has written, "
      "without a fence.proxy.async in between");
  check_refused(changed("bar.sync 0;\n", "\n"), FaultKind::shared_race, "nothing orders the write");
  const KernelRun late =
      changed("wgmma.commit_group", "st.shared.u32 [%r20+16384], 0;\nwgmma.commit_group");
  check_refused(late, FaultKind::shared_race,
                "writes 4 bytes at shared+0x4000 that a wgmma reads, and nothing orders the read");
}

TEST_CASE("a row of B that was never written spoils its own column and no other") {
  KernelRun kernel = kernel_of({.columns = 16});
  // Copies end in the middle of B: its rows 8 to 15 stay as they are.
  const size_t limit = kernel.body.find("6144;");
  REQUIRE(limit != std::string::npos);
  kernel.body.replace(limit, 5, "2176;");
  PreparedKernel prepared(kernel);
  const LaunchResult result = run(prepared.request, prepared.memory);
  REQUIRE_MESSAGE(!result.fault, result.fault->text);
  int numbers = 0;
  for (int i = 0; i < 8; ++i) {
    for (int t = 0; t < 128; ++t) {
      const auto word = static_cast<uint32_t>(prepared.word((i * 128 + t) / 2) >> (t % 2 * 32));
      const bool is_number = std::bit_cast<float>(word) == 1.0f;
      CHECK(is_number == (i < 4));
      numbers += is_number;
    }
  }
  CHECK(numbers == 64 * 8);
}

TEST_CASE("registers of a wgmma are left alone until a wait, and fenced before it") {
  check_refused(changed("wgmma.wait_group.sync.aligned 0;\n", ""), FaultKind::wgmma_misuse,
                "reads a register that the wgmma at PTX line");
  check_refused(changed("wgmma.wait_group.sync.aligned 0", "wgmma.wait_group.sync.aligned 1"),
                FaultKind::wgmma_misuse,
                "accumulates in, before a wgmma.wait_group has covered it");
  check_refused(changed("wgmma.commit_group", "mov.u32 %r31, 0;\nwgmma.commit_group"),
                FaultKind::wgmma_misuse, "writes a register that the wgmma at PTX line");
  check_refused(
      changed("wgmma.fence.sync.aligned;\n", "wgmma.fence.sync.aligned;\nmov.u32 %r30, 0;\n"),
      FaultKind::wgmma_misuse, "a register of A was written after the last wgmma.fence");
  check_refused(changed("wgmma.fence.sync.aligned;\n", ""), FaultKind::wgmma_misuse,
                "without a wgmma.fence before the first one");
  KernelRun kernel = kernel_of({});
  kernel.body.resize(kernel.body.find("wgmma.wait_group"));
  check_refused(kernel, FaultKind::wgmma_misuse, "the thread ends with a wgmma in flight");
}

TEST_CASE("wgmma is an instruction of a whole warpgroup in step") {
  KernelRun kernel = kernel_of({});
  kernel.threads = 96;
  check_refused(kernel, FaultKind::wgmma_misuse, "in a warpgroup of fewer than four warps");
  const std::string skip = "setp.lt.u32 %p5, %r2, {}; @%p5 bra END;\nwgmma.fence";
  const auto without = [&](int threads) {
    KernelRun part = changed("wgmma.fence", fmt::format(fmt::runtime(skip), threads));
    part.body += "END:\n";
    return part;
  };
  check_refused(without(32), FaultKind::deadlock, "for the rest of its warpgroup");
  check_refused(without(16), FaultKind::wgmma_misuse, "runs without this thread");
  check_refused(changed("mov.u64 %rd11, ",
                        "setp.lt.u32 %p5, %r2, 32;\n@%p5 mov.u64 %rd11, 0;\n@!%p5 "
                        "mov.u64 %rd11, "),
                FaultKind::wgmma_misuse, "warps of a warpgroup differ in a matrix descriptor");
}

TEST_CASE("a wgmma that needs more registers than the thread has is reported") {
  KernelRun kernel =
      changed("wgmma.fence", "setmaxnreg.dec.sync.aligned.u32 24;\nwgmma.fence", {.columns = 64});
  check_refused(kernel, FaultKind::register_pool, "a wgmma of 36 registers a thread, which has 24");
}

}  // namespace nvfp4::emulator
