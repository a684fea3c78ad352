// SPDX-License-Identifier: Apache-2.0
// Tensor maps and clusters through the emulated driver's ABI: what a real driver refuses is
// refused, and a map made here is one that a kernel can use.
#include <doctest/doctest.h>

#include <array>
#include <functional>

#include "tests/emulated_gpu.h"
#include "tests/kernel_bench.h"

namespace nvfp4 {
namespace {

// The arguments of cuTensorMapEncodeTiled for [20, 48] bf16, each of which a test may spoil.
struct Encoding {
  alignas(64) CUtensorMap map{};
  CUtensorMap* to = &map;
  CUtensorMapDataType type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  cuuint32_t rank = 2;
  CUdeviceptr address = 0;
  std::array<cuuint64_t, 5> sizes{48, 20, 1, 1, 1};
  std::array<cuuint64_t, 4> strides{96, 96, 96, 96};
  std::array<cuuint32_t, 5> box{64, 8, 1, 1, 1};
  std::array<cuuint32_t, 5> steps{1, 1, 1, 1, 1};
  CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
  CUtensorMapFloatOOBfill fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;

  CUresult encode(const Gpu& gpu) {
    return gpu.driver().tensor_map_encode_tiled(to, type, rank, reinterpret_cast<void*>(address),
                                                sizes.data(), strides.data(), box.data(),
                                                steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
                                                swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, fill);
  }
};

// fetch(map, out): thread 0 copies the map's box at (0, 0), 64 x 8 elements, to shared memory; all
// 256 threads store a word of it. wait(in, out): out[CTA] = *in before and after the grid wait.
constexpr char kFetchPtx[] = R"(
.version 8.3
.target sm_90a
.address_size 64
.visible .entry fetch(.param .align 64 .b8 fetch_map[128], .param .u64 fetch_out)
{
    .shared .align 1024 .b8 tile[2048];
    .reg .pred %p<3>;
    .reg .b32 %r<8>;
    .reg .b64 %rd<5>;
    mov.b64 %rd1, fetch_map;
    cvta.param.u64 %rd2, %rd1;
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, tile;
    add.u32 %r3, %r2, 1024;
    setp.eq.u32 %p1, %r1, 0;
    mov.u32 %r5, 0;
    @!%p1 bra $L__wait;
    mbarrier.init.shared::cta.b64 [%r3], 1;
    fence.mbarrier_init.release.cluster;
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r3], 1024;
    cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r2], [%rd2, {%r5, %r5}], [%r3];
$L__wait:
    bar.sync 0;
$L__again:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r3], 0;
    @!%p2 bra $L__again;
    mad.lo.u32 %r4, %r1, 4, %r2;
    ld.shared.u32 %r6, [%r4];
    ld.param.u64 %rd3, [fetch_out];
    mul.wide.u32 %rd4, %r1, 4;
    add.s64 %rd3, %rd3, %rd4;
    st.global.u32 [%rd3], %r6;
    ret;
}
.visible .entry wait(.param .u64 wait_in, .param .u64 wait_out)
{
    .reg .b32 %r<4>;
    .reg .b64 %rd<5>;
    ld.param.u64 %rd1, [wait_in];
    ld.param.u64 %rd2, [wait_out];
    mov.u32 %r1, %ctaid.x;
    mul.wide.u32 %rd3, %r1, 8;
    add.s64 %rd2, %rd2, %rd3;
    ld.volatile.global.u32 %r2, [%rd1];
    barrier.cluster.arrive.aligned;
    barrier.cluster.wait.aligned;
    griddepcontrol.wait;
    ld.volatile.global.u32 %r3, [%rd1];
    st.global.v2.u32 [%rd2], {%r2, %r3};
    ret;
}
)";

}  // namespace

TEST_CASE("a tensor map that a driver would refuse is refused") {
  const EmulatedGpu emulated;
  const auto result = [&](const std::function<void(Encoding&)>& spoil) {
    Encoding encoding;
    encoding.address = 0x10000;
    spoil(encoding);
    return encoding.encode(emulated.gpu);
  };
  CHECK(result([](Encoding&) {}) == CUDA_SUCCESS);
  const std::function<void(Encoding&)> mistakes[] = {
      [](Encoding& e) { e.to = nullptr; },
      [](Encoding& e) {
        e.to = reinterpret_cast<CUtensorMap*>(reinterpret_cast<char*>(&e.map) + 16);
      },
      [](Encoding& e) { e.address = 0; },
      [](Encoding& e) { e.address += 8; },
      [](Encoding& e) { e.rank = 0; },
      [](Encoding& e) { e.rank = 6; },
      [](Encoding& e) { e.sizes[1] = 0; },
      [](Encoding& e) { e.sizes[0] = (cuuint64_t{1} << 32) + 1; },
      [](Encoding& e) { e.strides[0] = 100; },
      [](Encoding& e) { e.strides[0] = cuuint64_t{1} << 40; },
      [](Encoding& e) { e.box[1] = 257; },
      [](Encoding& e) { e.box[0] = 0; },
      [](Encoding& e) { e.box[0] = 4; },    // 8 bytes
      [](Encoding& e) { e.box[0] = 128; },  // 256 bytes, more than the swizzle's 128
      [](Encoding& e) { e.steps[0] = 9; },
      [](Encoding& e) { e.type = static_cast<CUtensorMapDataType>(99); },
      [](Encoding& e) { e.swizzle = static_cast<CUtensorMapSwizzle>(9); },
      [](Encoding& e) {
        e.type = CU_TENSOR_MAP_DATA_TYPE_UINT16;
        e.fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA;
      },
  };
  for (const auto& mistake : mistakes) CHECK(result(mistake) == CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a kernel uses the tensor map that it was given as a parameter") {
  const EmulatedGpu emulated;
  KernelBench bench(emulated.gpu, kFetchPtx);
  std::vector<uint16_t> tensor(20 * 48);
  for (size_t i = 0; i < tensor.size(); ++i) tensor[i] = static_cast<uint16_t>(i + 1);
  DeviceBuffer data(bench.gpu, tensor.size() * 2);
  data.upload(bytes_of(tensor));
  DeviceBuffer out(bench.gpu, 1024);
  CUdeviceptr result = out.address();
  Encoding encoding;
  encoding.address = data.address();
  REQUIRE(encoding.encode(bench.gpu) == CUDA_SUCCESS);
  REQUIRE(launch(bench.gpu, bench.function("fetch"), {&encoding.map, &result}, nullptr,
                 {.block = 256}) == CUDA_SUCCESS);
  std::vector<uint16_t> box(512);
  out.download(bytes_of(box));
  int wrong = 0;
  for (int y = 0; y < 8; ++y) {
    for (int x = 0; x < 64; ++x) {
      const int at = (y * 128 + x * 2) ^ (y << 4);
      wrong += box[at / 2] != (x < 48 ? y * 48 + x + 1 : 0);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a launch's cluster must divide its grid, be portable, and suit the part") {
  const EmulatedGpu emulated;
  KernelBench bench(emulated.gpu);
  unsigned value = 3;
  const auto launched = [&](unsigned grid, unsigned cluster) {
    return launch(bench.gpu, bench.setter, {&bench.address, &value}, nullptr,
                  {.grid = grid, .cluster = cluster});
  };
  CHECK(launched(4, 2) == CUDA_SUCCESS);
  CHECK(launched(8, 8) == CUDA_SUCCESS);
  CHECK(launched(4, 3) == CUDA_ERROR_INVALID_CLUSTER_SIZE);
  CHECK(launched(16, 16) == CUDA_ERROR_INVALID_CLUSTER_SIZE);
  CHECK(bench.read() == 3);
  const EmulatedGpu ampere("a100");
  const Module module(ampere.gpu, kTestPtx);
  CHECK(launch(ampere.gpu, module.function("narrow"), {}, nullptr, {.grid = 2, .cluster = 2}) ==
        CUDA_ERROR_NOT_SUPPORTED);
}

TEST_CASE("cuOccupancyMaxActiveClusters counts the clusters that fit") {
  const EmulatedGpu emulated;
  KernelBench bench(emulated.gpu);
  const auto count = reinterpret_cast<decltype(&cuOccupancyMaxActiveClusters)>(
      bench.gpu.driver().symbol("cuOccupancyMaxActiveClusters"));
  const bool exported = count != nullptr;
  REQUIRE(exported);
  CUlaunchAttribute attribute{};
  attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
  attribute.value.clusterDim = {4, 1, 1};
  CUlaunchConfig config{};
  config.gridDimX = 8;
  config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1;
  config.blockDimX = 1024;
  config.attrs = &attribute;
  config.numAttrs = 1;
  int clusters = 0;
  CHECK(count(&clusters, bench.setter, &config) == CUDA_SUCCESS);
  CHECK(clusters == bench.gpu.facts().sm_count * 2 / 4);
}

TEST_CASE("a programmatic launch of clusters sees old memory before its grid wait and new after") {
  const EmulatedGpu emulated;
  KernelBench bench(emulated.gpu, kFetchPtx);
  const Module dependent(emulated.gpu, kDependentPtx);
  DeviceBuffer out(bench.gpu, 32);
  CUdeviceptr result = out.address();
  CUstream stream = bench.stream.get();
  REQUIRE(launch(bench.gpu, dependent.function("advance"), {&bench.address}, stream) ==
          CUDA_SUCCESS);
  REQUIRE(launch(bench.gpu, bench.function("wait"), {&bench.address, &result}, stream,
                 {.grid = 4, .programmatic = true, .cluster = 2}) == CUDA_SUCCESS);
  std::array<unsigned, 8> words{};
  out.download(bytes_of(words));
  CHECK(words == std::array{0u, 1u, 0u, 1u, 0u, 1u, 0u, 1u});
}

}  // namespace nvfp4
