// SPDX-License-Identifier: Apache-2.0
// The measuring machinery over the emulated device's virtual clock: which weights are read, how
// many launches make a sample, and that all kernels get all rounds. Real times need real silicon.
#include "tuner/measure.h"

#include <doctest/doctest.h>

#include "generator/emit.h"
#include "runtime/compiler.h"
#include "tests/emulated_gpu.h"

using namespace nvfp4;

namespace {

struct Fixture {
  EmulatedGpu device;
  Problem problem{.n = 64, .k = 64, .arch = device.gpu.facts().arch};
  KernelConfig config{.block_n = 64, .block_m = 8, .warps_k = 1, .pdl = true};
  LaunchPlan plan = launch_plan(config, problem, 8, device.gpu.facts());
  Kernel kernel = load();
  ColdPool pool{device.gpu, packed_bytes(64, 64), 3, 1};
  DeviceBuffer activations{device.gpu, 8 * 64 * 2};
  DeviceBuffer out{device.gpu, 8 * 64 * 2};
  DeviceBuffer scales{device.gpu, 4};

  Fixture() {
    activations.fill(std::byte{0});
    scales.fill(std::byte{0});
  }
  Kernel load() {
    const Compilation c = Compiler::open().compile(emit_source(config, problem), problem.arch);
    REQUIRE_MESSAGE(c.ok, c.log);
    return Kernel(device.gpu, c.ptx, plan.smem_bytes);
  }
  TimedKernel timed() const {
    return {.kernel = &kernel,
            .params = {.activations = activations.as<>(),
                       .out = out.as<>(),
                       .global_scales = scales.as<float>(),
                       .lda = 64,
                       .ldo = 64,
                       .m = 8,
                       .tiles_m = plan.tiles_m},
            .plan = plan};
  }
};

}  // namespace

TEST_SUITE("measure") {
  TEST_CASE("the pool outlasts the L2 four times and never has fewer than 256 MB") {
    const int64_t mib = 1 << 20;
    CHECK(pool_copies(9 * mib, 50 * mib) == 30);   // 256 MB
    CHECK(pool_copies(9 * mib, 100 * mib) == 46);  // 400 MB
    CHECK(pool_copies(500 * mib, 50 * mib) == 2);
  }

  TEST_CASE("copies of the pool do not overlap and hold the same weights") {
    EmulatedGpu device;
    const ColdPool pool(device.gpu, 2304, 3, 7);
    std::vector<std::byte> first(2304);
    std::vector<std::byte> last(2304);
    const auto read = [&](std::vector<std::byte>& bytes, int64_t copy) {
      device.gpu.check(device.driver().memcpy_d_to_h(bytes.data(), pool.copy(copy), bytes.size()),
                       "cuMemcpyDtoH");
    };
    read(first, 0);
    read(last, 2);
    CHECK(first == last);
    CHECK(pool.copy(1) - pool.copy(0) >= 2304);
  }

  TEST_CASE("each policy gives as many samples as it is asked for") {
    Fixture f;
    for (Policy policy : {Policy::graph, Policy::graph_pdl, Policy::eager}) {
      const PolicyTimes times = time_cold(f.device.gpu, f.timed(), f.pool, policy, 1e-5, 4);
      CHECK(times.policy == policy);
      REQUIRE(times.samples_us.size() == 4);
      for (float us : times.samples_us) CHECK(us > 0);
    }
  }

  TEST_CASE("in rounds every kernel is timed as often as every other") {
    Fixture f;
    const TimedKernel kernels[] = {f.timed(), f.timed(), f.timed()};
    const auto times = time_rounds(f.device.gpu, Card(f.device.gpu), kernels, f.pool, Policy::graph, 1e-5);
    REQUIRE(times.size() == 3);
    CHECK(times[0].samples_us.size() >= 15);
    CHECK(times[1].samples_us.size() == times[0].samples_us.size());
    CHECK(times[2].samples_us.size() == times[0].samples_us.size());
  }

  TEST_CASE("the read ceilings of an emulated part come from its data sheet") {
    const Device& device = find_part("h100")->device;
    const Ceilings ceilings = modelled_ceilings(device, 33'520'000);
    CHECK(ceilings.modelled);
    CHECK(ceilings.launch_seconds == doctest::Approx(1e-5));
    CHECK(ceilings.tensor_flops == doctest::Approx(758e12).epsilon(0.001));
  }
}
