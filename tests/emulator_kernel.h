// SPDX-License-Identifier: Apache-2.0
// Runs small PTX bodies on the emulated device. A body finds %r1 = thread in the grid, %r2 = thread
// in the block, %r3 = block, %rd1 = `out` and %rd2 = `in` (both u64 arrays), and plenty of
// registers: %r, %rd, %rs, %f, %fd, %p with numbers below 100.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "runtime/emulator/machine.h"

namespace nvfp4::emulator {

/// `declarations` go before the registers (shared variables and the like).
inline std::string kernel_text(const std::string& body, const std::string& declarations = "") {
  return fmt::format(R"(.version 9.0
.target sm_90a
.address_size 64
.visible .entry k(.param .u64 out_pointer, .param .u64 in_pointer)
{{
{}
.reg .pred %p<100>;
.reg .b16 %rs<100>;
.reg .b32 %r<100>;
.reg .f32 %f<100>;
.reg .b64 %rd<100>;
.reg .f64 %fd<100>;
ld.param.u64 %rd1, [out_pointer];
ld.param.u64 %rd2, [in_pointer];
mov.u32 %r2, %tid.x;
mov.u32 %r3, %ctaid.x;
mov.u32 %r4, %ntid.x;
mad.lo.s32 %r1, %r3, %r4, %r2;
BODY:
{}
ret;
}}
)",
                     declarations, body);
}

/// First line of the body in kernel_text, for expected line numbers (without declarations).
constexpr int kBodyLine = 20;

struct KernelRun {
  std::string body;
  std::string declarations = "";
  unsigned blocks = 1;
  unsigned cluster = 1;
  unsigned threads = 32;
  unsigned dynamic_smem = 0;
  int host_threads = 1;
  uint64_t seed = 0;
  int64_t limit = 10'000'000;
  std::vector<uint64_t> in = std::vector<uint64_t>(64, 0);
  size_t out_words = 1024;
};

/// A launch with its buffers; `out` starts uninitialised.
struct PreparedKernel {
  explicit PreparedKernel(const KernelRun& run) : out_words(run.out_words) {
    request.program = Program::parse(kernel_text(run.body, run.declarations));
    request.entry = "k";
    request.grid = {run.blocks, 1, 1};
    request.block = {run.threads, 1, 1};
    request.cluster = {run.cluster, 1, 1};
    request.dynamic_smem = run.dynamic_smem;
    request.threads = run.host_threads;
    request.seed = run.seed;
    request.max_warp_instructions = run.limit;
    request.variables = materialise_variables(*request.program, memory);
    out = memory.allocate(run.out_words * 8);
    in = memory.allocate(run.in.size() * 8);
    std::memcpy(memory.resolve(in, run.in.size() * 8, true), run.in.data(), run.in.size() * 8);
    request.params.resize(16);
    std::memcpy(request.params.data(), &out, 8);
    std::memcpy(request.params.data() + 8, &in, 8);
  }
  uint64_t word(size_t index) {
    uint64_t value = 0;
    std::memcpy(&value, memory.resolve(out + index * 8, 8, false), 8);
    return value;
  }
  void set_word(size_t index, uint64_t value) {
    std::memcpy(memory.resolve(out + index * 8, 8, true), &value, 8);
  }

  GlobalMemory memory;
  LaunchRequest request;
  uint64_t out = 0;
  uint64_t in = 0;
  size_t out_words;
};

/// `out` after a run that must succeed.
inline std::vector<uint64_t> results(const KernelRun& kernel) {
  PreparedKernel prepared(kernel);
  const LaunchResult result = run(prepared.request, prepared.memory);
  if (result.fault) FAIL(result.fault->text);
  std::vector<uint64_t> words;
  for (size_t i = 0; i < kernel.out_words; ++i) words.push_back(prepared.word(i));
  return words;
}

/// The fault of a run that must fail.
inline Fault fault_of(const KernelRun& kernel) {
  PreparedKernel prepared(kernel);
  const LaunchResult result = run(prepared.request, prepared.memory);
  REQUIRE(result.fault.has_value());
  return *result.fault;
}

/// The fault must be of `kind`, at line `line` of the body (0-based), by thread `thread` of block
/// `block`, and its text must contain `what`. (Declarations must be one line, if any.)
inline void check_fault(const KernelRun& kernel, FaultKind kind, int line, int thread,
                        const std::string& what, int block = 0) {
  const Fault fault = fault_of(kernel);
  INFO(fault.text);
  CHECK(fault.kind == kind);
  const std::string place = fmt::format(
      "kernel k, PTX line {}, block ({},0,0) thread ({},0,0): ", kBodyLine + line, block, thread);
  CHECK(fault.text.substr(0, place.size()) == place);
  CHECK(fault.text.find(what) != std::string::npos);
}

inline void check_clean(const KernelRun& kernel) {
  PreparedKernel prepared(kernel);
  const LaunchResult result = run(prepared.request, prepared.memory);
  if (result.fault) FAIL_CHECK(result.fault->text);
}

}  // namespace nvfp4::emulator
