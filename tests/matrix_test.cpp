// SPDX-License-Identifier: Apache-2.0
// Timing cuBLASLt's product: a stand-in on the emulated device decides what it proposes, what it
// refuses and whether it is right.
#include "tuner/matrix.h"

#include <doctest/doctest.h>

#include "runtime/emulator/emulated_device.h"
#include "tests/emulated_gpu.h"
#include "tests/temporary_folder.h"
#include "tuner/statistics.h"

using namespace nvfp4;

namespace {

// Few copies of the weights fill the pool, and the stand-in multiplies in milliseconds.
constexpr int64_t kN = 8192;
constexpr int64_t kK = 2048;

struct Fixture {
  EmulatedGpu device;
  ScopedEnvironment chosen{"NVFP4_CUBLASLT", FAKE_CUBLAS};
  Cublas cublas;

  PolicyTimes time(int64_t m) const { return time_matrix(device.gpu, cublas, kN, kK, m); }
};

}  // namespace

TEST_SUITE("matrix") {
  TEST_CASE("the fastest algorithm gives the time, and one that is refused is passed over") {
    const Fixture f;
    const PolicyTimes times = f.time(3);
    CHECK(times.policy == Policy::graph);
    CHECK(times.samples_us.size() == 25);
    const double us = quartiles(times.samples_us).median;
    // One launch of an empty kernel; the slow algorithm makes five.
    CHECK(us == doctest::Approx(emulator::kLaunchSeconds * 1e6).epsilon(0.01));
  }

  TEST_CASE("a wrong product is no time") {
    const Fixture f;
    const ScopedEnvironment wrong("FAKE_CUBLAS", "wrong");
    CHECK_THROWS_AS(f.time(3), MeasureError);
  }

  TEST_CASE("when every algorithm fails, the failing call is named") {
    const Fixture f;
    const ScopedEnvironment failing("FAKE_CUBLAS", "cublasLtMatmul");
    CHECK_THROWS_WITH_AS(f.time(3), "cublasLtMatmul failed with status 13", CublasError);
  }
}
