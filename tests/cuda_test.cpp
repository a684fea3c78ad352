// SPDX-License-Identifier: Apache-2.0
// The owners of driver objects, on the emulated device.
#include "runtime/cuda.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/emulated_gpu.h"
#include "tests/kernel_bench.h"

namespace nvfp4 {
namespace {

constexpr size_t kMiB = 1 << 20;

size_t free_bytes(const Gpu& gpu) {
  size_t free = 0;
  size_t total = 0;
  gpu.check(gpu.driver().mem_get_info(&free, &total), "cuMemGetInfo");
  return free;
}

TEST_CASE("a buffer returns the bytes that were put into it") {
  const EmulatedGpu emulated;
  DeviceBuffer buffer(emulated.gpu, 400);
  std::vector<int> in(100);
  std::iota(in.begin(), in.end(), 7);
  buffer.upload(bytes_of(in));
  std::vector<int> out(100);
  buffer.download(bytes_of(out));
  CHECK(out == in);
  std::array<int, 2> middle{};
  buffer.download(bytes_of(middle), 40);
  CHECK(middle == std::array<int, 2>{17, 18});
  buffer.fill(std::byte{0xff});
  buffer.download(bytes_of(middle), 392);
  CHECK(middle == std::array<int, 2>{-1, -1});
}

TEST_CASE("a copy that leaves its buffer is refused with all three numbers") {
  const EmulatedGpu emulated;
  DeviceBuffer buffer(emulated.gpu, 16);
  std::array<std::byte, 8> bytes{};
  CHECK_THROWS_WITH_AS(buffer.upload(bytes, 9), "copy of 8 bytes at 9 exceeds a buffer of 16",
                       std::out_of_range);
  CHECK_THROWS_AS(buffer.download(bytes, SIZE_MAX), std::out_of_range);
  CHECK_NOTHROW(buffer.upload(bytes, 8));
}

TEST_CASE("host memory is kept until more is wanted, and takes copies") {
  const EmulatedGpu emulated;
  HostBuffer host(emulated.gpu);
  CHECK(host.first(0).empty());
  const std::span<std::byte> small = host.first(100);
  CHECK(host.first(40).data() == small.data());
  DeviceBuffer buffer(emulated.gpu, 400);
  buffer.fill(std::byte{7});
  const std::span<std::byte> large = host.first(400);
  buffer.download(large);
  CHECK(std::count(large.begin(), large.end(), std::byte{7}) == 400);
}

TEST_CASE("an empty buffer owns nothing and copies nothing") {
  const EmulatedGpu emulated;
  DeviceBuffer buffer(emulated.gpu, 0);
  CHECK(buffer.address() == 0);
  CHECK_NOTHROW(buffer.upload({}));
  CHECK_NOTHROW(buffer.fill(std::byte{1}));
  CHECK(emulated.calls("alloc") == 0);
}

TEST_CASE("buffers free their memory, moved ones once") {
  const EmulatedGpu emulated;
  const size_t before = free_bytes(emulated.gpu);
  {
    DeviceBuffer first(emulated.gpu, kMiB);
    DeviceBuffer second(emulated.gpu, 2 * kMiB);
    CHECK(free_bytes(emulated.gpu) == before - 3 * kMiB);
    first = std::move(second);
    const DeviceBuffer third = std::move(first);
    CHECK(third.size() == 2 * kMiB);
  }
  CHECK(free_bytes(emulated.gpu) == before);
  CHECK(emulated.calls("free") == 2);
}

TEST_CASE("an allocation beyond the card is an error that says how much was asked for") {
  const EmulatedGpu emulated;
  try {
    const DeviceBuffer buffer(emulated.gpu, size_t{1} << 45);
    FAIL("32 TiB were allocated");
  } catch (const CudaError& error) {
    CHECK(error.code() == CUDA_ERROR_OUT_OF_MEMORY);
    CHECK(!error.is_sticky());
    CHECK(std::string(error.what()) ==
          "cuMemAlloc of 35184372088832 bytes failed: 2 CUDA_ERROR_OUT_OF_MEMORY (out of memory)");
  }
}

TEST_CASE("the codes that destroy a context are sticky and no others") {
  for (const int code :
       {214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 999}) {
    CAPTURE(code);
    CHECK(is_sticky(static_cast<CUresult>(code)));
  }
  for (const int code : {0,   1,   2,   3,   100, 200, 201, 209, 218, 400, 500,
                         600, 701, 720, 800, 801, 900, 901, 906, 907, 908}) {
    CAPTURE(code);
    CHECK(!is_sticky(static_cast<CUresult>(code)));
  }
}

TEST_CASE("PTX that does not parse is an error with the translator's line") {
  const EmulatedGpu emulated;
  try {
    const Module module(emulated.gpu,
                        ".version 8.3\n.target sm_80\n.address_size 64\n"
                        ".visible .entry k()\n{\n    frobnicate.u32;\n    ret;\n}\n");
    FAIL("an unknown opcode was loaded");
  } catch (const CudaError& error) {
    CHECK(error.code() == CUDA_ERROR_INVALID_PTX);
    CHECK(std::string(error.what()).find("PTX line 6") != std::string::npos);
    CHECK(std::string(error.what()).find("frobnicate") != std::string::npos);
  }
}

TEST_CASE("a function that is not there is an error with its name") {
  const EmulatedGpu emulated;
  const Module module(emulated.gpu, kTestPtx);
  CHECK(module.function("set_word") != nullptr);
  CHECK_THROWS_WITH_AS(
      module.function("absent"),
      "cuModuleGetFunction of absent failed: 500 CUDA_ERROR_NOT_FOUND (named symbol "
      "not found)",
      CudaError);
}

TEST_CASE("a captured graph runs on each launch and not while it is recorded") {
  const EmulatedGpu emulated;
  const Gpu& gpu = emulated.gpu;
  const Module module(gpu, kTestPtx);
  const CUfunction set_word = module.function("set_word");
  const Stream stream(gpu);
  DeviceBuffer word(gpu, 4);
  word.fill(std::byte{0});
  CUdeviceptr address = word.address();
  unsigned value = 42;
  const auto read = [&] {
    unsigned result = 0;
    word.download(std::as_writable_bytes(std::span(&result, 1)));
    return result;
  };
  const GraphExec graph = capture(gpu, stream.get(), [&] {
    gpu.check(launch(gpu, set_word, {&address, &value}, stream.get()), "cuLaunchKernelEx");
  });
  value = 1;  // arguments were copied when the launch was recorded
  CHECK(read() == 0);
  graph.launch(stream.get());
  stream.synchronize();
  CHECK(read() == 42);
  word.fill(std::byte{0});
  graph.launch(stream.get());
  CHECK(read() == 42);
  CHECK(emulated.calls("kernel") == 2);
}

TEST_CASE("an exception while recording ends the capture and leaves the stream usable") {
  const EmulatedGpu emulated;
  const Gpu& gpu = emulated.gpu;
  const Stream stream(gpu);
  CHECK_THROWS_WITH_AS(capture(gpu, stream.get(), [] { throw std::logic_error("enough"); }),
                       "enough", std::logic_error);
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_ACTIVE;
  CHECK(gpu.driver().stream_is_capturing(stream.get(), &status) == CUDA_SUCCESS);
  CHECK(status == CU_STREAM_CAPTURE_STATUS_NONE);
  CHECK_NOTHROW(stream.synchronize());
}

TEST_CASE("an allocation while recording fails the capture and nothing after it") {
  const EmulatedGpu emulated;
  const Gpu& gpu = emulated.gpu;
  const Stream stream(gpu);
  try {
    capture(gpu, stream.get(), [&] { DeviceBuffer(gpu, 16); });
    FAIL("a capture allocated");
  } catch (const CudaError& error) {
    CHECK(error.code() == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  }
  CHECK_NOTHROW(DeviceBuffer(gpu, 16));
}

TEST_CASE("events measure the modelled time of the work between them") {
  const EmulatedGpu emulated;
  const Gpu& gpu = emulated.gpu;
  const Module module(gpu, kTestPtx);
  const CUfunction set_word = module.function("set_word");
  const Stream stream(gpu);
  const Event start(gpu), middle(gpu), end(gpu);
  DeviceBuffer word(gpu, 4);
  CUdeviceptr address = word.address();
  unsigned value = 1;
  start.record(stream.get());
  gpu.check(launch(gpu, set_word, {&address, &value}, stream.get()), "cuLaunchKernelEx");
  middle.record(stream.get());
  gpu.check(launch(gpu, set_word, {&address, &value}, stream.get()), "cuLaunchKernelEx");
  gpu.check(launch(gpu, set_word, {&address, &value}, stream.get()), "cuLaunchKernelEx");
  end.record(stream.get());
  end.synchronize();
  const double one = middle.seconds_since(start);
  CHECK(one > 1e-6);
  CHECK(one < 1e-5);
  CHECK(end.seconds_since(middle) == doctest::Approx(2 * one).epsilon(1e-3));
  CHECK(stream.done());
}

TEST_CASE("objects survive a lost context and their destructors do not throw") {
  const EmulatedGpu emulated;
  const Gpu& gpu = emulated.gpu;
  const Module module(gpu, kTestPtx);
  const Stream stream(gpu);
  const Event event(gpu);
  const DeviceBuffer buffer(gpu, 64);
  emulated.inject("sync:1=719");
  try {
    stream.synchronize();
    FAIL("the scripted fault did not happen");
  } catch (const CudaError& error) {
    CHECK(error.code() == CUDA_ERROR_LAUNCH_FAILED);
    CHECK(error.is_sticky());
  }
  CHECK_THROWS_AS(event.record(stream.get()), CudaError);
}

TEST_CASE("another thread reaches the device through a context scope") {
  const EmulatedGpu emulated;
  const Gpu& gpu = emulated.gpu;
  CUresult without = CUDA_SUCCESS;
  CUresult with = CUDA_ERROR_UNKNOWN;
  CUcontext after = gpu.context();
  std::thread([&] {
    without = gpu.driver().ctx_synchronize();
    {
      const ContextScope scope(gpu);
      const ContextScope nested(gpu);
      with = gpu.driver().ctx_synchronize();
    }
    gpu.driver().ctx_get_current(&after);
  }).join();
  CHECK(without == CUDA_ERROR_INVALID_CONTEXT);
  CHECK(with == CUDA_SUCCESS);
  CHECK(after == nullptr);
}

TEST_CASE("a buffer freed on a thread without a context is freed") {
  const EmulatedGpu emulated;
  const size_t before = free_bytes(emulated.gpu);
  DeviceBuffer buffer(emulated.gpu, kMiB);
  std::thread([&] { const DeviceBuffer last = std::move(buffer); }).join();
  CHECK(free_bytes(emulated.gpu) == before);
}

TEST_CASE("the caller's context is borrowed, not owned") {
  const EmulatedGpu emulated;
  const auto driver = Driver::open(DriverSource::emulator);
  {
    const Gpu borrowed = Gpu::from_current_context(driver);
    CHECK(borrowed.context() == emulated.gpu.context());
    CHECK(borrowed.facts().sm_count == emulated.gpu.facts().sm_count);
  }
  CHECK_NOTHROW(DeviceBuffer(emulated.gpu, 16));
  std::thread([&] {
    CHECK_THROWS_WITH_AS(Gpu::from_current_context(driver),
                         "no CUDA context is current in this thread", DriverError);
  }).join();
}

}  // namespace
}  // namespace nvfp4
