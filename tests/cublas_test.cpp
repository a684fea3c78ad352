// SPDX-License-Identifier: Apache-2.0
// Finding cuBLASLt, what is said when it is missing or broken, and the product through a stand-in.
#include "tuner/cublas.h"

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/emulated_gpu.h"
#include "tests/temporary_folder.h"

using namespace nvfp4;

namespace {

std::string refusal(const char* library) {
  const ScopedEnvironment chosen("NVFP4_CUBLASLT", library);
  try {
    Cublas cublas;
  } catch (const CublasError& error) {
    return error.what();
  }
  return "opened";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

int live_objects() {
  void* const library = dlopen(FAKE_CUBLAS, RTLD_NOW | RTLD_LOCAL);
  REQUIRE(library != nullptr);
  return reinterpret_cast<int (*)()>(dlsym(library, "fake_cublas_live"))();
}

void touch(const std::filesystem::path& path) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << "not a library";
}

}  // namespace

TEST_SUITE("cublas") {
  TEST_CASE("the library that the environment names is the only one tried") {
    const ScopedEnvironment chosen("NVFP4_CUBLASLT", "/somewhere/libcublasLt.so.13");
    CHECK(cublas_libraries() == std::vector<std::string>{"/somewhere/libcublasLt.so.13"});
  }

  TEST_CASE("it is looked for beside NVRTC, in the next wheel and under CUDA_HOME, best first") {
    TemporaryFolder folder;
    const std::string nvrtc = folder / "nvidia/cuda_nvrtc/lib/libnvrtc.so.12";
    const std::string wheel = folder / "nvidia/cublas/lib/libcublasLt.so.12";
    const std::string home = folder / "cuda/lib64/libcublasLt.so.13";
    for (const std::string& path : {nvrtc, wheel, home}) touch(path);
    const ScopedEnvironment no_choice("NVFP4_CUBLASLT", nullptr);
    const ScopedEnvironment chosen("NVFP4_NVRTC", nvrtc.c_str());
    const ScopedEnvironment cuda("CUDA_HOME", (folder / "cuda").c_str());
    const std::vector<std::string> found = cublas_libraries();
    const auto place = [&](const std::string& path) {
      return std::find(found.begin(), found.end(), path) - found.begin();
    };
    CHECK(place(wheel) < place(home));
    CHECK(place(home) < place("libcublasLt.so.13"));
    CHECK(place("libcublasLt.so.12") < static_cast<long>(found.size()));
  }

  TEST_CASE("a library that is missing, is none, lacks a function or refuses is told apart") {
    EmulatedGpu device;
    CHECK(refusal("/nowhere/libcublasLt.so.13").starts_with("cuBLASLt not found: "));
    CHECK(contains(refusal("/nowhere/libcublasLt.so.13"), "/nowhere/libcublasLt.so.13"));
    TemporaryFolder folder;
    touch(folder / "libcublasLt.so.13");
    CHECK(refusal((folder / "libcublasLt.so.13").c_str()).starts_with("cuBLASLt does not work: "));
    CHECK(contains(refusal(FAKE_CUBLAS_PARTIAL), "has no cublasLtMatmul"));
    const ScopedEnvironment failing("FAKE_CUBLAS", "cublasLtCreate");
    CHECK(contains(refusal(FAKE_CUBLAS), "cublasLtCreate of " FAKE_CUBLAS));
    CHECK(contains(refusal(FAKE_CUBLAS), "status 13"));
    // A path that the file system refuses to look at is missing, not a crash.
    CHECK(refusal(std::string(70'000, 'x').c_str()).starts_with("cuBLASLt not found: "));
  }

  TEST_CASE("it says its name and what it proposes, and leaves nothing behind") {
    EmulatedGpu device;
    const ScopedEnvironment chosen("NVFP4_CUBLASLT", FAKE_CUBLAS);
    const int before = live_objects();
    {
      const Cublas cublas;
      CHECK(cublas.name() == "cuBLASLt 13.1.2");
      const Bf16Product product(cublas, 3, 64, 128);
      CHECK(product.algorithms() == 3);
      CHECK(live_objects() > before);
    }
    CHECK(live_objects() == before);
  }

  TEST_CASE("every call that fails is named with its status, and nothing leaks") {
    EmulatedGpu device;
    const ScopedEnvironment chosen("NVFP4_CUBLASLT", FAKE_CUBLAS);
    const Cublas cublas;
    const int before = live_objects();
    for (const std::string call :
         {"cublasLtMatmulDescCreate", "cublasLtMatrixLayoutCreate",
          "cublasLtMatmulPreferenceCreate", "cublasLtMatmulAlgoGetHeuristic"}) {
      CAPTURE(call);
      const ScopedEnvironment failing("FAKE_CUBLAS", call.c_str());
      std::string message;
      try {
        const Bf16Product product(cublas, 3, 64, 128);
      } catch (const CublasError& error) {
        message = error.what();
      }
      CHECK(contains(message, call + " failed with status 1"));
      CHECK(live_objects() == before);
    }
    const ScopedEnvironment none("FAKE_CUBLAS", "none");
    CHECK_THROWS_WITH_AS(Bf16Product(cublas, 3, 64, 128),
                         "cuBLASLt has no algorithm for M=3 N=64 K=128", CublasError);
    CHECK(live_objects() == before);
  }
}
