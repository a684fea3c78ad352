// SPDX-License-Identifier: Apache-2.0
// The gate on the emulated device: right kernels pass, and kernels that are wrong in ways that the
// mutants of the templates are not (they write nothing, too much, by turns, or elsewhere) do not.
#include "tuner/gate.h"

#include <doctest/doctest.h>

#include <string>

#include "generator/candidate_space.h"
#include "generator/emit.h"
#include "runtime/compiler.h"
#include "tests/emulated_gpu.h"
#include "tuner/guarded_buffer.h"

using namespace nvfp4;

namespace {

const Compiler& compiler() {
  static const Compiler opened = Compiler::open();
  return opened;
}

std::string ptx_of(const std::string& source, Arch arch) {
  const Compilation compilation = compiler().compile(source, arch);
  REQUIRE_MESSAGE(compilation.ok, compilation.log);
  return compilation.ptx;
}

// A kernel of our signature with a body of the test's own. Blocks of 128 threads.
std::string fake(const std::string& body) {
  return "#include \"gemm_params.h\"\n"
         "extern \"C\" __global__ void nvfp4_gemm("
         "const __grid_constant__ nvfp4::GemmParams p) {\n"
         "  const bool first = blockIdx.x == 0 && threadIdx.x == 0;\n" +
         body + "\n}\n";
}

struct Trial {
  EmulatedGpu device;
  Problem problem{.n = 64, .k = 128, .arch = device.gpu.facts().arch};
  KernelConfig config{.block_n = 64, .block_m = 8, .warps_k = 4};

  GateResult run(const std::string& ptx, int64_t m, GateDepth depth) {
    const Kernel kernel(device.gpu, ptx, smem_bytes(config));
    return Gate(device.gpu, problem, m, 1, 2).run(kernel, config, m, depth);
  }
  GateResult run_fake(const std::string& body) {
    return run(ptx_of(fake(body), problem.arch), 8, GateDepth::screen);
  }
};

}  // namespace

TEST_SUITE("gate") {
  TEST_CASE("the default kernel of a small problem passes in full, for every M and both types") {
    for (Activation act : {Activation::bf16, Activation::fp16}) {
      for (int64_t m : {1, 7, 16}) {
        CAPTURE(m);
        Trial trial;
        trial.problem = {.n = 96, .k = 144, .act = act, .arch = trial.device.gpu.facts().arch};
        trial.config = default_config(trial.problem, m, trial.device.gpu.facts());
        trial.config.pdl = true;
        const GateResult result =
            trial.run(ptx_of(emit_source(trial.config, trial.problem), trial.problem.arch), m,
                      GateDepth::full);
        CHECK_MESSAGE(result.verdict == Verdict::ok, result.text);
        CHECK(result.text.find("dependent launch") != std::string::npos);
      }
    }
  }

  TEST_CASE("a kernel that writes nothing is wrong") {
    CHECK(Trial().run_fake("").verdict == Verdict::wrong);
  }

  TEST_CASE(
      "a store just outside the output is out of bounds, though the result is not looked at") {
    Trial trial;
    const GateResult before = trial.run_fake("if (first) static_cast<short*>(p.out)[-1] = 0;");
    CHECK(before.verdict == Verdict::out_of_bounds);
    CHECK(before.text.find("before") != std::string::npos);
    const GateResult behind =
        trial.run_fake("if (first) static_cast<short*>(p.out)[p.m * p.ldo] = 0;");
    CHECK(behind.verdict == Verdict::out_of_bounds);
    CHECK(behind.text.find("behind") != std::string::npos);
  }

  TEST_CASE("a kernel that faults throws, and the error says what it is") {
    Trial trial;
    try {
      trial.run_fake("if (first) *reinterpret_cast<volatile int*>(16) = 1;");
      FAIL("no error");
    } catch (const CudaError& error) {
      CHECK(error.is_sticky());
      CHECK(verdict_of(error) == Verdict::fault);
    }
  }

  TEST_CASE("the whole grid is gated on a real GPU and where it is small, else fewer rows") {
    Device device = find_part("h100")->device;
    const KernelConfig config{.block_n = 64, .block_m = 64, .warps_k = 4};
    const Problem small{.n = 1000, .k = 512, .arch = device.arch};
    const Problem large{.n = 28672 + 24, .k = 8192, .arch = device.arch};
    CHECK(gate_rows(config, small, 64, device) == 1000);
    const int64_t rows = gate_rows(config, large, 64, device);
    CHECK(rows < 4096);
    CHECK(rows % 256 == large.n % 256);
    CHECK(gate_rows(config, large, 1 << 20, device) >= 256);
    device.emulated = false;
    CHECK(gate_rows(config, large, 64, device) == large.n);
  }

  TEST_CASE("more tokens than fit are gated as fewer, with the same ragged tile") {
    Device device = find_part("h100")->device;
    const KernelConfig config{.block_n = 64, .block_m = 64, .warps_k = 4};
    const Problem gated{.n = 256, .k = 8192, .arch = device.arch};
    CHECK(gate_tokens(config, gated, 63, device) == 63);
    const int64_t few = gate_tokens(config, gated, (1 << 20) - 1, device);
    CHECK(few < 4096);
    CHECK(few % 64 == 63);
    device.emulated = false;
    CHECK(gate_tokens(config, gated, 4096, device) == 4096);
    CHECK(gate_tokens(config, gated, 1 << 20, device) == 16384);
  }
}

TEST_SUITE("guarded_buffer") {
  TEST_CASE("guards tell which side was hit, and poison that was not overwritten is seen") {
    EmulatedGpu device;
    GuardedBuffer buffer(device.gpu, 64);
    buffer.poison(nullptr);
    CHECK_FALSE(buffer.guard_damage().has_value());
    std::vector<std::byte> inside(64);
    buffer.download(inside);
    CHECK(inside == std::vector<std::byte>(64, kPoison));
    CHECK_FALSE(buffer.zero(1));
    const auto set = [&](CUdeviceptr address, unsigned char value) {
      device.gpu.check(device.driver().memset_d8(address, value, 1), "cuMemsetD8");
    };
    set(buffer.address() + 64, 0);
    CHECK(buffer.guard_damage() == "behind");
    set(buffer.address() - 1, 0);
    CHECK(buffer.guard_damage() == "before");
  }

  TEST_CASE("a buffer of no bytes is still guarded") {
    EmulatedGpu device;
    GuardedBuffer buffer(device.gpu, 0);
    buffer.poison(nullptr);
    buffer.download({});
    CHECK_FALSE(buffer.guard_damage().has_value());
  }

  TEST_CASE("only what lies between rows must stay poison") {
    std::vector<std::byte> bytes(3 * 10, kPoison);
    CHECK(poisoned_between_rows(bytes, 8, 10));
    bytes[10 + 7] = std::byte{0};
    CHECK(poisoned_between_rows(bytes, 8, 10));
    bytes[10 + 8] = std::byte{0};
    CHECK_FALSE(poisoned_between_rows(bytes, 8, 10));
    CHECK(poisoned_between_rows(bytes, 10, 10));
  }
}
