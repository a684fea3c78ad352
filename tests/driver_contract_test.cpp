// SPDX-License-Identifier: Apache-2.0
// What any driver behind the seam must do, real or emulated: results, limits, and what is legal
// while a stream records. NVFP4_TEST_DEVICE names the device ("0" is a real GPU); the emulated H100
// otherwise. Where the two disagree, the emulator is wrong.
#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "tests/kernel_bench.h"

namespace nvfp4 {
namespace {

const Gpu& test_gpu() {
  static const Gpu gpu = [] {
    const char* name = std::getenv("NVFP4_TEST_DEVICE");
    return open_device(name ? name : "emulated:h100").gpu;
  }();
  return gpu;
}

TEST_CASE("vectors are added, whole and ragged") {
  const KernelBench bench(test_gpu());
  for (const int n : {1, 31, 256, 1000}) {
    CAPTURE(n);
    std::vector<float> a(n), b(n), sum(n);
    for (int i = 0; i < n; ++i) {
      a[i] = static_cast<float>(i);
      b[i] = static_cast<float>(3 * i + 1);
    }
    DeviceBuffer da(bench.gpu, 4 * n), db(bench.gpu, 4 * n), dc(bench.gpu, 4 * n);
    da.upload(bytes_of(a));
    db.upload(bytes_of(b));
    CUdeviceptr pa = da.address(), pb = db.address(), pc = dc.address();
    int count = n;
    REQUIRE(launch(bench.gpu, bench.function("vector_add"), {&pa, &pb, &pc, &count},
                   bench.stream.get(), {.grid = (n + 127u) / 128, .block = 128}) == CUDA_SUCCESS);
    dc.download(bytes_of(sum));
    for (int i = 0; i < n; ++i) CHECK(sum[i] == static_cast<float>(4 * i + 1));
  }
}

TEST_CASE("launch limits are those of the kernel and the part") {
  KernelBench bench(test_gpu());
  const CUfunction narrow = bench.function("narrow");
  const Driver& driver = bench.gpu.driver();
  CHECK(launch(bench.gpu, narrow, {}, nullptr, {.block = 64}) == CUDA_SUCCESS);
  CHECK(launch(bench.gpu, narrow, {}, nullptr, {.block = 65}) == CUDA_ERROR_INVALID_VALUE);
  CHECK(launch(bench.gpu, narrow, {}, nullptr, {.grid = 0}) == CUDA_ERROR_INVALID_VALUE);
  // 4096 bytes of the default 48 KiB are the kernel's own.
  CHECK(launch(bench.gpu, narrow, {}, nullptr, {.smem = 45056}) == CUDA_SUCCESS);
  CHECK(launch(bench.gpu, narrow, {}, nullptr, {.smem = 45057}) == CUDA_ERROR_INVALID_VALUE);
  const unsigned opt_in = static_cast<unsigned>(bench.gpu.facts().smem_per_block);
  const auto dynamic = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
  CHECK(driver.func_set_attribute(narrow, dynamic, opt_in - 4095) == CUDA_ERROR_INVALID_VALUE);
  CHECK(driver.func_set_attribute(narrow, dynamic, opt_in - 4096) == CUDA_SUCCESS);
  CHECK(launch(bench.gpu, narrow, {}, nullptr, {.smem = opt_in - 4096}) == CUDA_SUCCESS);
  CHECK(driver.ctx_synchronize() == CUDA_SUCCESS);
  int value = 0;
  CHECK(driver.func_get_attribute(&value, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, narrow) ==
        CUDA_SUCCESS);
  CHECK(value == 4096);
  CHECK(driver.func_get_attribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, narrow) ==
        CUDA_SUCCESS);
  CHECK(value == 64);
}

TEST_CASE("arguments may come as one packed buffer") {
  KernelBench bench(test_gpu());
  struct {
    CUdeviceptr address;
    unsigned value;
  } packed{bench.address, 77};
  size_t bytes = 12;
  void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                   CU_LAUNCH_PARAM_END};
  CUlaunchConfig config{};
  config.gridDimX = config.gridDimY = config.gridDimZ = 1;
  config.blockDimX = config.blockDimY = config.blockDimZ = 1;
  const auto launch_packed = [&] {
    return bench.gpu.driver().launch_kernel_ex(&config, bench.function("set_word"), nullptr, extra);
  };
  CHECK(launch_packed() == CUDA_SUCCESS);
  CHECK(bench.read() == 77);
}

/// A thread-local capture on the bench's stream with one launch in it.
struct Recording {
  explicit Recording(KernelBench& bench,
                     CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
      : driver(bench.gpu.driver()), stream(bench.stream.get()) {
    REQUIRE(driver.stream_begin_capture(stream, mode) == CUDA_SUCCESS);
    REQUIRE(bench.set_word(9, stream) == CUDA_SUCCESS);
  }
  CUstreamCaptureStatus status() const {
    CUstreamCaptureStatus value = CU_STREAM_CAPTURE_STATUS_NONE;
    CHECK(driver.stream_is_capturing(stream, &value) == CUDA_SUCCESS);
    return value;
  }
  CUresult end() {
    if (graph) driver.graph_destroy(graph);
    graph = nullptr;
    return driver.stream_end_capture(stream, &graph);
  }
  ~Recording() {
    if (graph) driver.graph_destroy(graph);
  }

  const Driver& driver;
  CUstream stream;
  CUgraph graph = nullptr;
};

TEST_CASE("a stream that records runs nothing") {
  KernelBench bench(test_gpu());
  const Driver& driver = bench.gpu.driver();
  Recording recording(bench);
  CHECK(recording.status() == CU_STREAM_CAPTURE_STATUS_ACTIVE);
  CHECK(driver.stream_begin_capture(recording.stream, CU_STREAM_CAPTURE_MODE_GLOBAL) ==
        CUDA_ERROR_ILLEGAL_STATE);
  CHECK(recording.end() == CUDA_SUCCESS);
  CHECK(recording.graph != nullptr);
  CHECK(bench.read() == 0);
  CHECK(driver.stream_end_capture(recording.stream, &recording.graph) == CUDA_ERROR_ILLEGAL_STATE);
  CHECK(driver.stream_begin_capture(nullptr, CU_STREAM_CAPTURE_MODE_GLOBAL) ==
        CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
}

TEST_CASE("what waits, allocates or instantiates ends a recording of its thread") {
  KernelBench bench(test_gpu());
  const Gpu& gpu = bench.gpu;
  const Driver& driver = gpu.driver();
  const Stream other(gpu);
  const Event event(gpu);
  event.record(other.get());
  CUdeviceptr address = bench.address;
  void* host = nullptr;
  CUgraphExec exec = nullptr;
  Recording first(bench);
  REQUIRE(first.end() == CUDA_SUCCESS);
  const std::vector<std::function<CUresult()>> illegal = {
      [&] { return driver.stream_synchronize(bench.stream.get()); },
      [&] { return driver.stream_synchronize(other.get()); },
      [&] { return driver.stream_synchronize(nullptr); },
      [&] { return driver.stream_query(bench.stream.get()); },
      [&] { return driver.event_synchronize(event.get()); },
      [&] { return driver.ctx_synchronize(); },
      [&] { return driver.mem_alloc(&address, 16); },
      [&] { return driver.mem_free(address); },
      [&] { return driver.mem_host_alloc(&host, 16, 0); },
      [&] { return driver.graph_instantiate(&exec, first.graph, 0); }};
  for (size_t i = 0; i < illegal.size(); ++i) {
    CAPTURE(i);
    Recording recording(bench);
    CHECK(illegal[i]() == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CHECK(recording.status() == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    CHECK(bench.set_word(1, recording.stream) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CHECK(recording.end() == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CHECK(recording.graph == nullptr);
  }
  CHECK(bench.set_word(3, bench.stream.get()) == CUDA_SUCCESS);
  CHECK(bench.read() == 3);
}

TEST_CASE("what touches neither the stream nor its order goes on while a stream records") {
  KernelBench bench(test_gpu());
  const Driver& driver = bench.gpu.driver();
  DeviceBuffer spare(bench.gpu, 16);
  std::array<std::byte, 16> host{};
  size_t free = 0, total = 0;
  CUmodule module = nullptr;
  CUevent event = nullptr;
  Recording recording(bench);
  CHECK(driver.memcpy_h_to_d(spare.address(), host.data(), 16) == CUDA_SUCCESS);
  CHECK(driver.memcpy_d_to_h(host.data(), spare.address(), 16) == CUDA_SUCCESS);
  CHECK(driver.memset_d8(spare.address(), 0, 16) == CUDA_SUCCESS);
  CHECK(driver.mem_get_info(&free, &total) == CUDA_SUCCESS);
  CHECK(driver.module_load_data_ex(&module, kTestPtx, 0, nullptr, nullptr) == CUDA_SUCCESS);
  CHECK(driver.event_create(&event, CU_EVENT_DEFAULT) == CUDA_SUCCESS);
  CHECK(recording.status() == CU_STREAM_CAPTURE_STATUS_ACTIVE);
  CHECK(recording.end() == CUDA_SUCCESS);
  CHECK(driver.module_unload(module) == CUDA_SUCCESS);
  CHECK(driver.event_destroy(event) == CUDA_SUCCESS);
}

TEST_CASE("the capture mode decides which threads' allocations are refused") {
  KernelBench bench(test_gpu());
  const Driver& driver = bench.gpu.driver();
  const auto allocate = [&] {
    CUdeviceptr address = 0;
    const CUresult result = driver.mem_alloc(&address, 16);
    if (result == CUDA_SUCCESS) driver.mem_free(address);
    return result;
  };
  const auto allocate_elsewhere = [&] {
    CUresult result = CUDA_ERROR_UNKNOWN;
    std::thread([&] {
      const ContextScope scope(bench.gpu);
      result = allocate();
    }).join();
    return result;
  };
  {
    Recording recording(bench, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    CHECK(allocate_elsewhere() == CUDA_SUCCESS);
    CHECK(recording.end() == CUDA_SUCCESS);
  }
  {
    Recording recording(bench, CU_STREAM_CAPTURE_MODE_GLOBAL);
    CHECK(allocate_elsewhere() == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CHECK(recording.end() == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  }
  Recording recording(bench, CU_STREAM_CAPTURE_MODE_RELAXED);
  CHECK(allocate() == CUDA_SUCCESS);
  CHECK(driver.ctx_synchronize() == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  CHECK(recording.end() == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

TEST_CASE("a recording ended by another thread is lost") {
  KernelBench bench(test_gpu());
  Recording recording(bench);
  CUresult result = CUDA_SUCCESS;
  std::thread([&] {
    const ContextScope scope(bench.gpu);
    result = recording.end();
  }).join();
  CHECK(result == CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
  CHECK(recording.status() == CU_STREAM_CAPTURE_STATUS_NONE);
  CHECK(recording.end() == CUDA_ERROR_ILLEGAL_STATE);
}

TEST_CASE("events bring another stream into a recording, which must be joined again") {
  KernelBench bench(test_gpu());
  const Driver& driver = bench.gpu.driver();
  const Stream side(bench.gpu);
  const Event fork(bench.gpu), join(bench.gpu);
  const auto branch = [&] {
    CHECK(driver.event_record(fork.get(), bench.stream.get()) == CUDA_SUCCESS);
    CHECK(driver.stream_wait_event(side.get(), fork.get(), 0) == CUDA_SUCCESS);
    CHECK(bench.set_word(2, side.get()) == CUDA_SUCCESS);
  };
  const auto merge = [&] {
    CHECK(driver.event_record(join.get(), side.get()) == CUDA_SUCCESS);
    CHECK(driver.stream_wait_event(bench.stream.get(), join.get(), 0) == CUDA_SUCCESS);
  };
  {
    Recording recording(bench);
    branch();
    merge();
    REQUIRE(recording.end() == CUDA_SUCCESS);
    CUgraphExec exec = nullptr;
    REQUIRE(driver.graph_instantiate(&exec, recording.graph, 0) == CUDA_SUCCESS);
    CHECK(bench.read() == 0);
    CHECK(driver.graph_launch(exec, bench.stream.get()) == CUDA_SUCCESS);
    CHECK(bench.read() == 2);
    CHECK(driver.graph_exec_destroy(exec) == CUDA_SUCCESS);
    CHECK(driver.event_synchronize(join.get()) == CUDA_ERROR_INVALID_VALUE);
  }
  {
    Recording recording(bench);
    branch();
    CHECK(recording.end() == CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    CHECK(side.done());
  }
  {
    Recording recording(bench);
    branch();
    merge();
    CUgraph graph = nullptr;
    CHECK(driver.stream_end_capture(side.get(), &graph) == CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    CHECK(recording.end() == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  }
  {
    Recording recording(bench);
    branch();
    CHECK(driver.event_query(fork.get()) == CUDA_ERROR_CAPTURED_EVENT);
    CHECK(recording.end() == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  }
  join.record(side.get());
  Recording recording(bench);
  CHECK(driver.stream_wait_event(bench.stream.get(), join.get(), 0) ==
        CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  CHECK(recording.end() == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

TEST_CASE("work on the legacy stream disturbs a blocking stream that records") {
  KernelBench bench(test_gpu());
  const Driver& driver = bench.gpu.driver();
  CUstream blocking = nullptr;
  REQUIRE(driver.stream_create(&blocking, CU_STREAM_DEFAULT) == CUDA_SUCCESS);
  REQUIRE(driver.stream_begin_capture(blocking, CU_STREAM_CAPTURE_MODE_RELAXED) == CUDA_SUCCESS);
  CHECK(bench.set_word(1, nullptr) == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  CUgraph graph = nullptr;
  CHECK(driver.stream_end_capture(blocking, &graph) == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  CHECK(bench.set_word(1, nullptr) == CUDA_SUCCESS);
}

TEST_CASE("images that cannot run have codes that say why") {
  const Gpu& gpu = test_gpu();
  const auto load = [&](const char* image) {
    CUmodule module = nullptr;
    return gpu.driver().module_load_data_ex(&module, image, 0, nullptr, nullptr);
  };
  CHECK(load("") == CUDA_ERROR_INVALID_IMAGE);
  CHECK(load("hello") == CUDA_ERROR_INVALID_IMAGE);
  CHECK(load(".version 8.8\n.target sm_100\n.address_size 64\n.visible .entry k() { ret; }") ==
        CUDA_ERROR_INVALID_PTX);
  CHECK(load(".version 8.3\n.target sm_80\n.address_size 64\n.visible .entry k() {") ==
        CUDA_ERROR_INVALID_PTX);
  CUfunction function = nullptr;
  const Module module(gpu, kTestPtx);
  CHECK_THROWS_AS(module.function("absent"), CudaError);
  function = module.function("spin");
  CHECK(function != nullptr);
}

TEST_CASE("a programmatic launch reads its predecessor's result after the grid wait") {
  KernelBench bench(test_gpu(), kDependentPtx);
  DeviceBuffer out(bench.gpu, 8);
  CUdeviceptr result = out.address();
  for (unsigned i = 1; i <= 100; ++i) {
    launch(bench.gpu, bench.function("advance"), {&bench.address}, bench.stream.get(),
           {.programmatic = true});
    launch(bench.gpu, bench.function("dependent"), {&bench.address, &result}, bench.stream.get(),
           {.programmatic = true});
    bench.stream.synchronize();
    std::array<unsigned, 2> words{};
    out.download(bytes_of(words));
    CHECK(words[1] == i);
    CHECK(words[0] <= i);
    CHECK(words[0] + 1 >= i);
  }
}

TEST_CASE("a sequence of events is in order and a replay takes time") {
  KernelBench bench(test_gpu());
  const Event start(bench.gpu), end(bench.gpu);
  const GraphExec graph =
      capture(bench.gpu, bench.stream.get(), [&] { bench.set_word(4, bench.stream.get()); });
  graph.launch(bench.stream.get());
  start.record(bench.stream.get());
  graph.launch(bench.stream.get());
  end.record(bench.stream.get());
  end.synchronize();
  CHECK(end.seconds_since(start) > 0);
  CHECK(end.seconds_since(start) < 1);
  CHECK(bench.stream.done());
  CHECK(bench.read() == 4);
}

TEST_CASE("freed memory cannot be freed or written again, and no bytes are no allocation") {
  const Gpu& gpu = test_gpu();
  const Driver& driver = gpu.driver();
  CUdeviceptr address = 0;
  CHECK(driver.mem_alloc(&address, 0) == CUDA_ERROR_INVALID_VALUE);
  REQUIRE(driver.mem_alloc(&address, 16) == CUDA_SUCCESS);
  CHECK(driver.mem_free(address + 4) == CUDA_ERROR_INVALID_VALUE);
  CHECK(driver.memset_d32(address + 2, 0, 1) == CUDA_ERROR_INVALID_VALUE);
  CHECK(driver.memset_d32(address + 2, 0, 0) == CUDA_SUCCESS);
  CHECK(driver.mem_free(address) == CUDA_SUCCESS);
  CHECK(driver.mem_free(address) == CUDA_ERROR_INVALID_VALUE);
  CHECK(driver.memset_d8(address, 0, 1) == CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("the driver's facts describe a card that the product supports") {
  const Device& facts = test_gpu().facts();
  CHECK(target_arch(facts.arch.major, facts.arch.minor) == facts.arch);
  CHECK(facts.sm_count >= 8);
  CHECK(facts.l2_bytes >= 1 << 20);
  CHECK(facts.smem_per_block >= 99 * 1024);
  CHECK(facts.smem_per_sm > facts.smem_per_block);
  CHECK(facts.memory_bandwidth > 1e11);
  CHECK(facts.clock_hz > 5e8);
  CHECK(facts.tensor_flops > 1e13);
  CHECK(test_gpu().uuid().size() == 32);
  MESSAGE(facts.name << " " << sm_name(facts.arch) << ", " << facts.sm_count << " SMs, "
                     << facts.memory_bandwidth / 1e9 << " GB/s, " << facts.clock_hz / 1e9
                     << " GHz, " << facts.tensor_flops / 1e12 << " TFLOP/s");
}

}  // namespace
}  // namespace nvfp4
