// SPDX-License-Identifier: Apache-2.0
// What the emulated driver adds to the contract of driver_contract_test.cpp: exact bounds, faults
// with their place, the latch after them, stale handles found out, and failures by script.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/emulated_gpu.h"
#include "tests/kernel_bench.h"

namespace nvfp4 {
namespace {

struct Bench : EmulatedGpu, KernelBench {
  Bench() : KernelBench(EmulatedGpu::gpu) {}
  using EmulatedGpu::driver;
  using KernelBench::gpu;

  /// A store through a pointer that belongs to no allocation.
  CUresult fault() {
    CUdeviceptr nowhere = 64;
    unsigned value = 1;
    return launch(gpu, function("set_word"), {&nowhere, &value}, stream.get());
  }
};

TEST_CASE("a kernel that writes one element too far faults, and the report says where") {
  Bench bench;
  std::vector<float> values(32, 1.0f);
  DeviceBuffer in(bench.gpu, 128), out(bench.gpu, 124);
  in.upload(bytes_of(values));
  CUdeviceptr pi = in.address(), po = out.address();
  int count = 32;
  CHECK(launch(bench.gpu, bench.function("vector_add"), {&pi, &pi, &po, &count}, bench.stream.get(),
               {.block = 32}) == CUDA_SUCCESS);
  CHECK(bench.gpu.driver().stream_synchronize(bench.stream.get()) == CUDA_ERROR_ILLEGAL_ADDRESS);
  const std::string report = bench.report();
  CHECK(report.find("vector_add") != report.npos);
  CHECK(report.find("PTX line") != report.npos);
  CHECK(report.find("(31,0,0)") != report.npos);
}

TEST_CASE("after a fault every call that needs the context returns its code, for ever") {
  Bench bench;
  const Driver& driver = bench.driver();
  REQUIRE(bench.fault() == CUDA_SUCCESS);  // asynchronous: noticed later
  CHECK(driver.ctx_synchronize() == CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK(driver.ctx_synchronize() == CUDA_ERROR_ILLEGAL_ADDRESS);
  CUdeviceptr address = 0;
  CHECK(driver.mem_alloc(&address, 16) == CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK(driver.mem_free(bench.address) == CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK(driver.stream_query(bench.stream.get()) == CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK(bench.set_word(1, bench.stream.get()) == CUDA_ERROR_ILLEGAL_ADDRESS);
  CUcontext context = nullptr;
  CHECK(driver.ctx_get_current(&context) == CUDA_SUCCESS);
  CHECK(driver.ctx_set_current(context) == CUDA_SUCCESS);
  CHECK(driver.device_primary_ctx_retain(&context, bench.gpu.ordinal()) == CUDA_SUCCESS);
  CHECK(driver.device_primary_ctx_release(bench.gpu.ordinal()) == CUDA_SUCCESS);
  CHECK(driver.device_primary_ctx_release(bench.gpu.ordinal()) == CUDA_SUCCESS);
  // The context is gone now, and no new one is to be had in this process.
  CHECK(driver.device_primary_ctx_retain(&context, bench.gpu.ordinal()) ==
        CUDA_ERROR_ILLEGAL_ADDRESS);
  int count = 0;
  CHECK(driver.device_get_count(&count) == CUDA_SUCCESS);
}

TEST_CASE("a misaligned access and a kernel that runs too long have codes of their own") {
  {
    Bench bench;
    const DeviceBuffer two(bench.gpu, 8);
    CUdeviceptr odd = two.address() + 1;
    unsigned value = 1;
    launch(bench.gpu, bench.function("set_word"), {&odd, &value}, bench.stream.get());
    CHECK(bench.gpu.driver().ctx_synchronize() == CUDA_ERROR_MISALIGNED_ADDRESS);
  }
  Bench bench;
  bench.call<decltype(&nvfp4_emulator_limit_instructions)>("nvfp4_emulator_limit_instructions")(
      10000);
  launch(bench.gpu, bench.function("spin"), {&bench.address}, bench.stream.get());
  CHECK(bench.gpu.driver().ctx_synchronize() == CUDA_ERROR_LAUNCH_TIMEOUT);
  CHECK(bench.report().find("spin") != std::string::npos);
}

TEST_CASE("copies are bound to the byte and refused without harm") {
  Bench bench;
  const Driver& driver = bench.driver();
  std::array<std::byte, 8> host{};
  CHECK(driver.memcpy_h_to_d(bench.address, host.data(), 5) == CUDA_ERROR_INVALID_VALUE);
  CHECK(driver.memcpy_d_to_h(host.data(), bench.address + 1, 4) == CUDA_ERROR_INVALID_VALUE);
  CHECK(driver.memcpy_d_to_h(host.data(), bench.address - 1, 1) == CUDA_ERROR_INVALID_VALUE);
  CHECK(driver.memcpy_d_to_d(bench.address, bench.address + 4, 1) == CUDA_ERROR_INVALID_VALUE);
  CHECK(driver.memset_d32(bench.address, 1, 2) == CUDA_ERROR_INVALID_VALUE);
  CHECK(driver.memset_d32(bench.address + 2, 1, 0) == CUDA_SUCCESS);
  CHECK(driver.memset_d8_async(bench.address, 1, 5, bench.stream.get()) ==
        CUDA_ERROR_INVALID_VALUE);
  CHECK(driver.memcpy_h_to_d(bench.address, host.data(), 4) == CUDA_SUCCESS);
}

TEST_CASE("a packed argument buffer that is too short is refused, where a real driver reads on") {
  Bench bench;
  CUdeviceptr packed = bench.address;
  size_t bytes = sizeof(packed);
  void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                   CU_LAUNCH_PARAM_END};
  CUlaunchConfig config{};
  config.gridDimX = config.gridDimY = config.gridDimZ = 1;
  config.blockDimX = config.blockDimY = config.blockDimZ = 1;
  CHECK(bench.driver().launch_kernel_ex(&config, bench.setter, nullptr, extra) ==
        CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a copy of uninitialised memory stays uninitialised for the kernel that reads it") {
  Bench bench;
  DeviceBuffer blank(bench.gpu, 4), copy(bench.gpu, 4), out(bench.gpu, 4);
  REQUIRE(bench.gpu.driver().memcpy_d_to_d(copy.address(), blank.address(), 4) == CUDA_SUCCESS);
  CUdeviceptr from = copy.address(), to = out.address();
  int count = 1;
  launch(bench.gpu, bench.function("vector_add"), {&from, &from, &to, &count}, bench.stream.get());
  CHECK(bench.gpu.driver().ctx_synchronize() == CUDA_ERROR_LAUNCH_FAILED);
  CHECK(bench.report().find("were never written") != std::string::npos);
}

TEST_CASE("stale handles are found out") {
  Bench bench;
  const Driver& driver = bench.driver();
  CUstream stream = nullptr;
  REQUIRE(driver.stream_create(&stream, CU_STREAM_DEFAULT) == CUDA_SUCCESS);
  REQUIRE(driver.stream_destroy(stream) == CUDA_SUCCESS);
  CHECK(driver.stream_destroy(stream) == CUDA_ERROR_INVALID_HANDLE);
  CHECK(bench.set_word(1, stream) == CUDA_ERROR_INVALID_HANDLE);
  CUfunction function = nullptr;
  {
    const Module module(bench.gpu, kTestPtx);
    function = module.function("set_word");
  }
  CHECK(launch(bench.gpu, function, {}, nullptr) == CUDA_ERROR_INVALID_HANDLE);
  CUevent event = nullptr;
  REQUIRE(driver.event_create(&event, CU_EVENT_DEFAULT) == CUDA_SUCCESS);
  float milliseconds = 0;
  CHECK(driver.event_elapsed_time(&milliseconds, event, event) == CUDA_ERROR_INVALID_HANDLE);
  CHECK(driver.event_destroy(event) == CUDA_SUCCESS);
  CHECK(driver.event_record(event, nullptr) == CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("machine code and PTX for another part do not load") {
  const EmulatedGpu ampere("a100");
  const auto load = [&](const char* image) {
    CUmodule module = nullptr;
    return ampere.driver().module_load_data_ex(&module, image, 0, nullptr, nullptr);
  };
  CHECK(load("\x7f"
             "ELF\x02") == CUDA_ERROR_NO_BINARY_FOR_GPU);
  CHECK(load(kDependentPtx) == CUDA_ERROR_INVALID_PTX);
  CHECK(load(kTestPtx) == CUDA_SUCCESS);
}

TEST_CASE("a call without a context or in a forked child is refused") {
  Bench bench;
  const Driver& driver = bench.driver();
  CUdeviceptr address = 0;
  std::thread([&] { CHECK(driver.mem_alloc(&address, 4) == CUDA_ERROR_INVALID_CONTEXT); }).join();
  const pid_t child = fork();
  if (child == 0) _exit(driver.mem_alloc(&address, 4) == CUDA_ERROR_NOT_INITIALIZED ? 0 : 1);
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(driver.mem_free(bench.address + 1) == CUDA_ERROR_INVALID_VALUE);  // the parent goes on
}

TEST_CASE("a released context takes its memory and handles with it") {
  const EmulatedGpu emulated;
  CUstream stream = nullptr;
  CUdeviceptr address = 0;
  const Driver& driver = emulated.driver();
  {
    const Gpu other = open_device("emulated:a100").gpu;
    REQUIRE(driver.stream_create(&stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
    REQUIRE(driver.mem_alloc(&address, 4) == CUDA_SUCCESS);
  }
  CHECK(driver.stream_synchronize(stream) == CUDA_ERROR_CONTEXT_IS_DESTROYED);
  CHECK(driver.memset_d8(address, 0, 1) == CUDA_ERROR_CONTEXT_IS_DESTROYED);
  REQUIRE(driver.ctx_set_current(emulated.gpu.context()) == CUDA_SUCCESS);
  CHECK(driver.stream_synchronize(stream) == CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("scripted failures come at their call: allocation, launch, kernel, load") {
  Bench bench;
  const Driver& driver = bench.driver();
  CUdeviceptr address = 0;
  bench.inject("alloc:2=2,launch:2=701,load:1=200");
  CHECK(driver.mem_alloc(&address, 4) == CUDA_SUCCESS);
  CHECK(driver.mem_alloc(&address, 4) == CUDA_ERROR_OUT_OF_MEMORY);
  CHECK(driver.mem_alloc(&address, 4) == CUDA_SUCCESS);
  CHECK_THROWS_AS(Module(bench.gpu, kTestPtx), CudaError);
  CHECK(bench.set_word(5, nullptr) == CUDA_SUCCESS);
  CHECK(bench.set_word(6, nullptr) == CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
  CHECK(bench.read() == 5);
  bench.inject("kernel:2=715");
  CHECK(bench.set_word(7, nullptr) == CUDA_SUCCESS);
  CHECK(bench.set_word(8, nullptr) == CUDA_SUCCESS);
  CHECK(driver.ctx_synchronize() == CUDA_ERROR_ILLEGAL_INSTRUCTION);
  CHECK(driver.mem_alloc(&address, 4) == CUDA_ERROR_ILLEGAL_INSTRUCTION);
}

TEST_CASE("a sticky code is sticky wherever the script puts it") {
  for (const int code : {700, 702, 710, 714, 715, 716, 717, 718, 719, 999}) {
    for (const char* place : {"launch", "sync", "free", "copy", "event"}) {
      CAPTURE(code);
      CAPTURE(place);
      Bench bench;
      const Event event(bench.gpu);
      const Driver& driver = bench.driver();
      bench.inject((std::string(place) + ":1=" + std::to_string(code)).c_str());
      std::byte host{};
      std::vector<CUresult> results = {
          bench.set_word(1, nullptr), driver.event_record(event.get(), nullptr),
          driver.ctx_synchronize(), driver.memcpy_d_to_h(&host, bench.address, 1),
          driver.mem_free(bench.address + 1)};
      CHECK(results.back() == code);
      CHECK(driver.stream_query(nullptr) == code);
    }
  }
}

TEST_CASE("a kernel that never ends blocks whoever waits for it and nobody else") {
  Bench bench;
  const Driver& driver = bench.driver();
  bench.inject("kernel:1=hang");
  CHECK(bench.set_word(1, bench.stream.get()) == CUDA_SUCCESS);
  CHECK(driver.stream_query(bench.stream.get()) == CUDA_ERROR_NOT_READY);
  CHECK(!bench.stream.done());
  static std::atomic<bool> returned = false;
  // The thread outlives the test, as the call outlives the program on a real device.
  std::thread([&driver, context = bench.gpu.context()] {
    driver.ctx_push_current(context);
    driver.ctx_synchronize();
    returned = true;
  }).detach();
  usleep(50'000);
  CHECK(!returned);
  CHECK(driver.stream_query(bench.stream.get()) == CUDA_ERROR_NOT_READY);
  bench.reset();  // or the destructors would wait, too
}

TEST_CASE("a graph whose memory was freed faults the device when it runs") {
  Bench bench;
  const Driver& driver = bench.driver();
  auto buffer = std::make_unique<DeviceBuffer>(bench.gpu, 16);
  const GraphExec graph = capture(bench.gpu, bench.stream.get(),
                                  [&] { buffer->fill(std::byte{1}, bench.stream.get()); });
  graph.launch(bench.stream.get());
  CHECK(driver.ctx_synchronize() == CUDA_SUCCESS);
  buffer.reset();
  driver.graph_launch(nullptr, nullptr);
  CHECK_THROWS_AS(graph.launch(bench.stream.get()), CudaError);
  CHECK(driver.ctx_synchronize() == CUDA_ERROR_ILLEGAL_ADDRESS);
}

}  // namespace
}  // namespace nvfp4
