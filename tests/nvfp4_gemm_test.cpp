// SPDX-License-Identifier: Apache-2.0
#include "runtime/nvfp4_gemm.h"

#include <doctest/doctest.h>

#include <stdexcept>
#include <string>

#include "runtime/cuda.h"
#include "runtime/pack.h"
#include "tests/temporary_folder.h"
#include "tests/tuning_db_fixture.h"
#include "tuner/gate_data.h"

using namespace nvfp4;

namespace {

constexpr int64_t kN = 200, kK = 320, kM = 13;

Runtime emulated(const std::string& part = "h100") {
  return Runtime(open_device("emulated:" + part).gpu, {.database = ""});
}

template <typename T>
DeviceBuffer upload(const Gpu& gpu, const std::vector<T>& values) {
  DeviceBuffer buffer(gpu, values.size() * sizeof(T));
  buffer.upload(bytes_of(values));
  return buffer;
}

}  // namespace

TEST_SUITE("nvfp4_gemm") {
  TEST_CASE("an untuned shape is answered by the default, and its result is exact on every arch") {
    std::string part;
    SUBCASE("sm_80") { part = "a100"; }
    SUBCASE("sm_86") { part = "a10g"; }
    SUBCASE("sm_89") { part = "l40s"; }
    SUBCASE("sm_90a") { part = "h100"; }
    const Runtime runtime = emulated(part);
    const Gemm gemm = runtime.prepare({.n = kN, .k = kK}, 1, kM);
    for (const Gemm::Range& range : gemm.ranges()) {
      CHECK(range.selection.layer == Layer::fallback);
      CHECK(range.selection.match == Match::fallback);
    }
    CHECK(gemm.max_m() == kM);

    const Stream stream(runtime.gpu());
    const DeviceBuffer workspace(runtime.gpu(), gemm.workspace_bytes());
    init_workspace(runtime.gpu(), workspace.address(), gemm.workspace_bytes(), stream.get());
    for (const int64_t m : {int64_t{1}, kM}) {
      const GateCase data =
          make_gate_case(GateKind::exact, {.n = kN, .k = kK, .m = m, .bias = true}, 2);
      std::vector<uint8_t> packed(packed_bytes(kN, kK));
      pack(data.codes, data.scales, kN, kK, packed, 1, "weights");
      const DeviceBuffer weights = upload(runtime.gpu(), packed);
      const DeviceBuffer activations = upload(runtime.gpu(), data.activations);
      const DeviceBuffer scales = upload(runtime.gpu(), data.global_scales);
      const DeviceBuffer bias = upload(runtime.gpu(), data.bias);
      for (const OutputType type : {OutputType::bf16, OutputType::fp16, OutputType::fp32}) {
        std::vector<uint8_t> out(m * kN * 4);
        DeviceBuffer result = upload(runtime.gpu(), out);
        gemm.launch({.weights = weights.address(),
                     .activations = activations.address(),
                     .out = result.address(),
                     .global_scales = scales.address(),
                     .bias = bias.address(),
                     .workspace = workspace.address(),
                     .workspace_bytes = gemm.workspace_bytes(),
                     .m = m,
                     .lda = data.lda,
                     .out_type = type},
                    stream.get());
        stream.synchronize();
        result.download(bytes_of(out));
        const auto wrong = check(data, out.data(), kN, type);
        CHECK_MESSAGE(!wrong, wrong.value_or(""));
      }
    }
  }

  TEST_CASE("operands that break the contract are refused before anything is launched") {
    const Runtime runtime = emulated();
    const Gemm gemm = runtime.prepare({.n = kN, .k = kK}, 1, 8);
    const auto refusal = [&](GemmArguments a) -> std::string {
      try {
        gemm.launch(a, nullptr);
      } catch (const std::invalid_argument& error) {
        return error.what();
      }
      return "launched";
    };
    const GemmArguments good{
        .weights = 256, .activations = 256, .out = 256, .global_scales = 256, .m = 1};
    GemmArguments bad = good;
    bad.weights = 8;
    CHECK(refusal(bad) == "weights are null or not 16-byte aligned");
    bad = good;
    bad.m = -1;
    CHECK(refusal(bad) == "M = -1 is outside what was prepared, 0 to 8");
    bad = good;
    bad.m = 9;
    CHECK(refusal(bad) == "M = 9 is outside what was prepared, 0 to 8");
    bad = good;
    bad.lda = 100;
    CHECK(refusal(bad) == "lda = 100 is below K = 320, no multiple of 8 or above 68719476736");
    bad = good;
    bad.ldo = 199;
    CHECK(refusal(bad) == "out: ldo = 199 is below its 200 columns or above 68719476736");
    bad = good;
    bad.out = 257;
    CHECK(refusal(bad) == "out is null or not aligned to its elements");
    bad = good;
    bad.m = 0;
    bad.weights = 0;
    gemm.launch(bad, nullptr);  // nothing to do, nothing checked
  }

  TEST_CASE("a bad shape or range is refused by lookup and prepare alike") {
    const Runtime runtime = emulated();
    CHECK_THROWS_WITH(runtime.lookup({.n = 64, .k = 100}, 1), "K = 100 is not a multiple of 16");
    CHECK_THROWS_WITH(runtime.prepare({.n = 0, .k = 64}, 1, 1), "N = 0 is below 1");
    CHECK_THROWS_WITH(runtime.prepare({.n = 64, .k = 64}, 0, 1), "M = 0 is below 1");
    CHECK_THROWS_WITH(runtime.prepare({.n = 64, .k = 64}, 9, 8),
                      "the range of M ends at 8, before 9");
  }

  TEST_CASE("every M of a prepared range runs what lookup says, and equal configs share a kernel") {
    const Runtime runtime = emulated();
    const GemmRequest request{.n = 256, .k = 512};
    const Gemm gemm = runtime.prepare(request, 1, 300);
    REQUIRE(gemm.ranges().size() > 1);
    int64_t previous = 0;
    for (const Gemm::Range& range : gemm.ranges()) {
      CHECK(range.m_hi > previous);
      CHECK(range.selection.config == runtime.lookup(request, range.m_hi).config);
      for (const Gemm::Range& other : gemm.ranges()) {
        CHECK((range.kernel == other.kernel) == (range.selection.config == other.selection.config));
      }
      previous = range.m_hi;
    }
    CHECK(previous == 300);
  }

  TEST_CASE("ranges of M end where the rows of the database do") {
    const TemporaryFolder folder;
    const std::string path = folder / "user.db";
    Device device = find_part("h100")->device;
    device.emulated = true;
    {
      TuningDb database(path, Access::read_write);
      const int64_t run = database.add_run(run_on(device));
      for (const int64_t m : {1, 16, 24}) {
        Measurement row = measurement_of(config_of(m == 16 ? 16 : 8), m, 5, Provenance::modelled);
        row.problem.n = kN;
        row.problem.k = kK;
        add_winner(database, run, device, row);
      }
    }
    const Runtime runtime(open_device("emulated:h100").gpu, {.database = path});
    const Gemm gemm = runtime.prepare({.n = kN, .k = kK}, 1, 24);
    REQUIRE(gemm.ranges().size() == 3);
    CHECK(gemm.ranges()[0].m_hi == 8);
    CHECK(gemm.ranges()[0].selection.config == config_of(8));
    CHECK(gemm.ranges()[1].m_hi == 16);
    CHECK(gemm.ranges()[1].selection.config == config_of(16));
    CHECK(gemm.ranges()[2].m_hi == 24);
    CHECK(gemm.ranges()[2].kernel == gemm.ranges()[0].kernel);
  }
}
