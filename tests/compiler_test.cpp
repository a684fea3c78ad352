// SPDX-License-Identifier: Apache-2.0
// Compiles with the real NVRTC, and meets bad ones through a stand-in library.
#include "runtime/compiler.h"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "runtime/nvrtc_search.h"
#include "tests/temporary_folder.h"

namespace nvfp4 {
namespace {

constexpr Arch kSm80{8, 0};
constexpr Arch kSm90a{9, 0, true};

constexpr char kScale[] =
    "extern \"C\" __global__ void k(float* p) { p[threadIdx.x] = p[threadIdx.x] * 3.0f; }";

/// What open() complains of when it finds the stand-in with this version and compile status.
std::string complaint(const char* version, const char* result, int driver_version) {
  const ScopedEnvironment library("NVFP4_NVRTC", FAKE_NVRTC);
  const ScopedEnvironment fake_version("FAKE_NVRTC_VERSION", version);
  const ScopedEnvironment fake_result("FAKE_NVRTC_RESULT", result);
  try {
    Compiler::open(driver_version);
  } catch (const CompilerError& error) {
    return error.what();
  }
  return "accepted";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a kernel compiles to a cubin and PTX with its resources") {
  const Compilation c = Compiler::open().compile(kScale, kSm80);
  REQUIRE_MESSAGE(c.ok, c.log);
  CHECK(c.cubin.substr(0, 4) == "\177ELF");
  CHECK(contains(c.ptx, ".target sm_80"));
  CHECK(contains(c.ptx, ".entry k("));
  CHECK(c.resources.registers >= 4);
  CHECK_FALSE(c.resources.spills());
  CHECK(c.warnings.empty());
}

TEST_CASE("every supported architecture compiles, wgmma's feature set included") {
  const Compiler compiler = Compiler::open();
  for (const Arch arch : {Arch{8, 0}, Arch{8, 6}, Arch{8, 9}, Arch{9, 0}, Arch{9, 0, true}}) {
    const Compilation c = compiler.compile(kScale, arch);
    CHECK_MESSAGE(c.ok, sm_name(arch), ": ", c.log);
    CHECK(contains(c.ptx, ".target " + sm_name(arch)));
  }
}

TEST_CASE("headers come from memory and includes between them resolve") {
  const TemplateFile headers[] = {{"outer.h", "#include \"inner.h\"\n"},
                                  {"inner.h", "constexpr int kAnswer = 42;\n"}};
  const std::string source =
      "#include \"outer.h\"\nextern \"C\" __global__ void k(int* p) { *p = kAnswer; }";
  const Compiler compiler = Compiler::open();
  CHECK(compiler.compile(source, kSm80, headers).ok);
  CHECK_FALSE(compiler.compile(source, kSm80, std::span(headers, 1)).ok);
}

TEST_CASE("a source that does not compile is a value whose log names the line") {
  const Compilation c = Compiler::open().compile("\n\nint f() { return \x1b[31mnope; }", kSm80);
  CHECK_FALSE(c.ok);
  CHECK(c.cubin.empty());
  CHECK(c.ptx.empty());
  CHECK(contains(c.log, "nvfp4.cu(3): error"));
  CHECK_FALSE(contains(c.log, "\x1b"));
}

TEST_CASE("shared memory, spills and stack are read from the log") {
  const std::string source = R"(
    extern "C" __global__ void __launch_bounds__(1024, 2) k(const float* in, float* out, int n) {
      __shared__ float shared[320];
      shared[threadIdx.x % 320] = in[0];
      __syncthreads();
      float a[64];
      for (int i = 0; i < 64; ++i) a[i] = in[i * n] * shared[i];
      for (int r = 0; r < n; ++r) {
        #pragma unroll
        for (int i = 0; i < 64; ++i) a[i] = a[i] * a[(i * 7 + 1) % 64] + in[r];
      }
      #pragma unroll
      for (int i = 0; i < 64; ++i) out[i * n] = a[i];
    })";
  const Compilation c = Compiler::open().compile(source, kSm90a);
  REQUIRE_MESSAGE(c.ok, c.log);
  CHECK(c.resources.static_smem_bytes == 1280);
  CHECK(c.resources.registers <= 32);
  CHECK(c.resources.registers >= 24);
  CHECK(c.resources.spills());
  CHECK(c.resources.stack_bytes > 0);
  CHECK(c.resources.barriers == 1);
}

TEST_CASE("the figures of several functions are the largest of each") {
  const KernelResources r = parse_resources(
      "ptxas         .     16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads\n"
      "ptxas info    : Used 90 registers, used 1 barriers, 16 bytes cumulative stack size, 256 "
      "bytes smem\n"
      "ptxas info    : Used 24 registers, used 3 barriers, 300 bytes cmem[0]\n"
      "bytes spill stores without a number,  registers\n");
  CHECK(r == KernelResources{.registers = 90,
                             .stack_bytes = 16,
                             .spill_store_bytes = 4,
                             .spill_load_bytes = 8,
                             .static_smem_bytes = 256,
                             .barriers = 3});
  CHECK(parse_resources("") == KernelResources{});
}

TEST_CASE("serialised wgmma is told from other warnings") {
  Compilation c;
  c.warnings = parse_warnings(
      "nvfp4.cu(1): warning #177-D: variable \"t\" was declared but never referenced\n"
      "Remark: The warnings can be suppressed with \"-diag-suppress <warning-number>\"\n"
      "ptxas info    : Used 90 registers\n");
  CHECK(c.warnings.size() == 1);
  CHECK_FALSE(c.serialised_wgmma());
  c.warnings = parse_warnings(
      "ptxas info    : (C7511) Potential Performance Loss: wgmma.mma_async instructions are "
      "serialized "
      "due to insufficient register resources for the wgmma pipeline in the function 'k'\n");
  CHECK(c.serialised_wgmma());
}

TEST_CASE("a long log keeps its head and its tail") {
  const std::string log = "first" + std::string(1 << 20, '.') + "last";
  const std::string shown = printable_log(log);
  CHECK(shown.size() <= kMaxLogBytes);
  CHECK(shown.starts_with("first"));
  CHECK(shown.ends_with("last"));
  CHECK(printable_log("a\tb\n\0\n") == "a\tb");
}

TEST_CASE("the same source gives the same cubin on every thread") {
  const Compiler compiler = Compiler::open();
  std::vector<std::string> cubins(4);
  std::vector<std::thread> threads;
  for (std::string& cubin : cubins) {
    threads.emplace_back([&] { cubin = compiler.compile(kScale, kSm90a).cubin; });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(std::set<std::string>(cubins.begin(), cubins.end()).size() == 1);
  CHECK_FALSE(cubins[0].empty());
}

TEST_CASE("an architecture this NVRTC does not know is named") {
  CHECK_THROWS_WITH_AS(Compiler::open().compile(kScale, Arch{7, 0}),
                       doctest::Contains("cannot compile for sm_70"), CompilerError);
}

TEST_CASE("identity tells the build, version what a person says") {
  const Compiler compiler = Compiler::open();
  CHECK(compiler.version().starts_with(std::to_string(compiler.major()) + "."));
  CHECK(contains(compiler.identity(), compiler.version()));
  CHECK(contains(compiler.identity(), "Build ID"));
  CHECK(std::filesystem::exists(compiler.path()));
}

TEST_CASE("an NVRTC older than 12.3 is refused with both versions") {
  const std::string text = complaint("12.2", nullptr, 0);
  CHECK(contains(text, "NVRTC 12.2"));
  CHECK(contains(text, "older than 12.3"));
  CHECK(complaint("12.3", nullptr, 0) == "accepted");
}

TEST_CASE("an NVRTC of a later CUDA major than the driver is refused with both versions") {
  const std::string text = complaint("13.0", nullptr, 12080);
  CHECK(contains(text, "NVRTC 13.0"));
  CHECK(contains(text, "CUDA 12.8"));
  CHECK(complaint("12.9", nullptr, 12020) == "accepted");
  CHECK(complaint("12.9", nullptr, 13000) == "accepted");
}

TEST_CASE("an NVRTC without its builtins library is refused and says what is missing") {
  const std::string text = complaint("12.8", "7", 0);
  CHECK(contains(text, "libnvrtc-builtins.so.12.8"));
  CHECK(contains(text, "cannot compile"));
}

TEST_CASE("a missing or foreign library names what to install") {
  {
    const ScopedEnvironment library("NVFP4_NVRTC", "/nowhere/libnvrtc.so.13");
    CHECK_THROWS_WITH_AS(Compiler::open(), doctest::Contains("/nowhere/libnvrtc.so.13"),
                         CompilerError);
    CHECK_THROWS_WITH_AS(Compiler::open(), doctest::Contains("cuda-nvrtc-13-0"), CompilerError);
  }
  const ScopedEnvironment library("NVFP4_NVRTC", "libc.so.6");
  CHECK_THROWS_WITH_AS(Compiler::open(), doctest::Contains("is no NVRTC"), CompilerError);
}

TEST_CASE("wheels of the active environment come before CUDA_HOME, newest major first") {
  const TemporaryFolder root;
  const auto touch = [&](const std::string& name) {
    std::filesystem::create_directories((root / name).parent_path());
    std::fclose(std::fopen((root / name).c_str(), "w"));
  };
  touch("env/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
  touch("env/lib/python3.11/site-packages/nvidia/cu13/lib/libnvrtc.so.13");
  touch("cuda/lib64/libnvrtc.so.12");
  touch("cuda/lib64/libnvrtc.so.13");
  touch("cuda/lib64/libnvrtc.so.13.0.88");
  touch("cuda/lib64/libnvrtc-builtins.so.13");
  const ScopedEnvironment chosen("NVFP4_NVRTC", nullptr);
  const ScopedEnvironment environment("VIRTUAL_ENV", (root / "env").c_str());
  const ScopedEnvironment cuda("CUDA_HOME", (root / "cuda").c_str());
  std::vector<std::string> own;
  for (const std::string& library : nvrtc_libraries()) {
    if (library.starts_with(root.path().string())) own.push_back(library);
  }
  const std::string wheels = (root / "env/lib/python3.11/site-packages/nvidia/").string();
  CHECK(own == std::vector<std::string>{wheels + "cu13/lib/libnvrtc.so.13",
                                        wheels + "cuda_nvrtc/lib/libnvrtc.so.12",
                                        (root / "cuda/lib64/libnvrtc.so.13").string(),
                                        (root / "cuda/lib64/libnvrtc.so.12").string()});
}

TEST_CASE("a relative CUDA_HOME is not searched") {
  const ScopedEnvironment chosen("NVFP4_NVRTC", nullptr);
  const ScopedEnvironment cuda("CUDA_HOME", ".");
  for (const std::string& library : nvrtc_libraries()) {
    CHECK_MESSAGE((library.front() == '/' || !contains(library, "/")), library);
  }
}

}  // namespace nvfp4
