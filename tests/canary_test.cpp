// SPDX-License-Identifier: Apache-2.0
// A sane card passes, and each way in which it may not be sane is found.
#include "tuner/canary.h"

#include <doctest/doctest.h>

#include "runtime/compiler.h"
#include "runtime/cuda.h"
#include "tests/emulated_gpu.h"
#include "tests/test_kernels.h"

using namespace nvfp4;

namespace {

struct Fixture {
  std::string image = ptx("#include \"read_stream.cuh\"\n");
  EmulatedGpu device;
  int64_t free = run_canary(device.gpu, {}).free_bytes;

  std::string ptx(const std::string& source) {
    const Compilation c = Compiler::open().compile(source, {9, 0, true});
    REQUIRE_MESSAGE(c.ok, c.log);
    return c.ptx;
  }
  std::string error(int64_t free_bytes, const std::string& kernel) {
    return run_canary(device.gpu, {.free_bytes = free_bytes, .image = kernel}).error;
  }
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE("canary") {
  TEST_CASE("a sane card passes, and says how much memory is free") {
    Fixture f;
    CHECK(f.free > int64_t{70} << 30);
    CHECK(f.error(f.free, f.image) == "");
    CHECK(f.error(0, f.image) == "");
  }

  TEST_CASE("a kernel that answers otherwise is found, whichever answer is wrong") {
    for (const char* body : {"", "*sink = 0x12345u;"}) {
      Fixture f;
      const std::string liar = f.ptx(
          std::string("extern \"C\" __global__ void nvfp4_read_stream(const void*, unsigned long "
                      "long, unsigned* sink) {") +
          body + "}");
      CHECK(contains(f.error(f.free, liar), "the canary kernel answers"));
    }
  }

  TEST_CASE("memory that stays away is found after a while, a little of it is not") {
    Fixture f;
    const DeviceBuffer little(f.device.gpu, 1 << 20);
    CHECK(f.error(f.free, f.image) == "");
    const DeviceBuffer leak(f.device.gpu, 128 << 20);
    const std::string error = f.error(f.free, f.image);
    CHECK(contains(error, "MB are free"));
    CHECK(contains(error, "were before"));
  }

  TEST_CASE("a context that is lost is an answer too") {
    Fixture f;
    f.device.inject("kernel:1=719");
    CHECK(contains(f.error(f.free, f.image), "719"));
  }
}
