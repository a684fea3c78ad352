// SPDX-License-Identifier: Apache-2.0
// Owners of driver objects. Releases ignore errors: after a sticky error every one of them fails,
// and the error itself was reported by the call that met it.
#include "runtime/cuda.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

namespace nvfp4 {
namespace {

/// Makes the context current, as far as that is possible, while a destructor runs.
template <class Release>
void release(const Gpu& gpu, const Release& call) noexcept {
  try {
    const ContextScope scope(gpu);
    call(gpu.driver());
  } catch (const CudaError&) {
    // The context is gone, and the object with it.
  }
}

void check_range(size_t offset, size_t bytes, size_t size) {
  if (offset <= size && bytes <= size - offset) return;
  throw std::out_of_range(
      fmt::format("copy of {} bytes at {} exceeds a buffer of {}", bytes, offset, size));
}

}  // namespace

Stream::Stream(const Gpu& gpu) : gpu_(gpu) {
  gpu_.check(gpu_.driver().stream_create(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
}

Stream::~Stream() {
  release(gpu_, [&](const Driver& driver) { driver.stream_destroy(stream_); });
}

void Stream::synchronize() const {
  gpu_.check(gpu_.driver().stream_synchronize(stream_), "cuStreamSynchronize");
}

bool Stream::done() const {
  const CUresult result = gpu_.driver().stream_query(stream_);
  if (result == CUDA_ERROR_NOT_READY) return false;
  gpu_.check(result, "cuStreamQuery");
  return true;
}

Event::Event(const Gpu& gpu) : gpu_(gpu) {
  gpu_.check(gpu_.driver().event_create(&event_, CU_EVENT_DEFAULT), "cuEventCreate");
}

Event::~Event() {
  release(gpu_, [&](const Driver& driver) { driver.event_destroy(event_); });
}

void Event::record(CUstream stream) const {
  gpu_.check(gpu_.driver().event_record(event_, stream), "cuEventRecord");
}

void Event::synchronize() const {
  gpu_.check(gpu_.driver().event_synchronize(event_), "cuEventSynchronize");
}

double Event::seconds_since(const Event& start) const {
  float milliseconds = 0;
  gpu_.check(gpu_.driver().event_elapsed_time(&milliseconds, start.event_, event_),
             "cuEventElapsedTime");
  return milliseconds * 1e-3;
}

DeviceBuffer::DeviceBuffer(const Gpu& gpu, size_t bytes) : gpu_(gpu), size_(bytes) {
  if (bytes == 0) return;
  const CUresult result = gpu_.driver().mem_alloc(&address_, bytes);
  if (result == CUDA_SUCCESS) return;
  throw CudaError(gpu_.driver(), result, fmt::format("cuMemAlloc of {} bytes", bytes));
}

DeviceBuffer::~DeviceBuffer() {
  if (!address_) return;
  release(gpu_, [&](const Driver& driver) { driver.mem_free(address_); });
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : gpu_(other.gpu_),
      address_(std::exchange(other.address_, 0)),
      size_(std::exchange(other.size_, 0)) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(gpu_, other.gpu_);
  std::swap(address_, other.address_);
  std::swap(size_, other.size_);
  return *this;
}

void DeviceBuffer::upload(std::span<const std::byte> bytes, size_t offset) {
  check_range(offset, bytes.size(), size_);
  if (bytes.empty()) return;
  gpu_.check(gpu_.driver().memcpy_h_to_d(address_ + offset, bytes.data(), bytes.size()),
             "cuMemcpyHtoD");
}

void DeviceBuffer::download(std::span<std::byte> bytes, size_t offset) const {
  check_range(offset, bytes.size(), size_);
  if (bytes.empty()) return;
  gpu_.check(gpu_.driver().memcpy_d_to_h(bytes.data(), address_ + offset, bytes.size()),
             "cuMemcpyDtoH");
}

void DeviceBuffer::fill(std::byte value, CUstream stream) {
  if (size_ == 0) return;
  gpu_.check(
      gpu_.driver().memset_d8_async(address_, std::to_integer<unsigned char>(value), size_, stream),
      "cuMemsetD8Async");
}

HostBuffer::~HostBuffer() { free(); }

void HostBuffer::free() {
  if (data_ == nullptr) return;
  release(gpu_, [&](const Driver& driver) { driver.mem_free_host(data_); });
  data_ = nullptr;
  size_ = 0;
}

std::span<std::byte> HostBuffer::first(size_t bytes) {
  if (bytes > size_) {
    const size_t wanted = std::max(bytes, size_ + size_ / 2);  // few steps to any size
    free();
    const CUresult result = gpu_.driver().mem_host_alloc(&data_, wanted, 0);
    if (result != CUDA_SUCCESS) {
      data_ = nullptr;
      throw CudaError(gpu_.driver(), result, fmt::format("cuMemHostAlloc of {} bytes", wanted));
    }
    size_ = wanted;
  }
  return {static_cast<std::byte*>(data_), bytes};
}

Module::Module(const Gpu& gpu, std::string_view image) : gpu_(gpu) {
  const std::string terminated(image);  // PTX is read up to its NUL
  std::array<char, 8192> log{};
  std::array<CUjit_option, 2> options = {CU_JIT_ERROR_LOG_BUFFER,
                                         CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  std::array<void*, 2> values = {log.data(), reinterpret_cast<void*>(log.size())};
  const CUresult result = gpu_.driver().module_load_data_ex(
      &module_, terminated.c_str(), options.size(), options.data(), values.data());
  if (result == CUDA_SUCCESS) return;
  log.back() = '\0';
  throw CudaError(gpu_.driver(), result, "cuModuleLoadDataEx", log.data());
}

Module::~Module() {
  if (!module_) return;
  release(gpu_, [&](const Driver& driver) { driver.module_unload(module_); });
}

Module::Module(Module&& other) noexcept
    : gpu_(other.gpu_), module_(std::exchange(other.module_, nullptr)) {}

CUfunction Module::function(const char* name) const {
  CUfunction function = nullptr;
  const CUresult result = gpu_.driver().module_get_function(&function, module_, name);
  if (result == CUDA_SUCCESS) return function;
  throw CudaError(gpu_.driver(), result, fmt::format("cuModuleGetFunction of {}", name));
}

GraphExec::GraphExec(const Gpu& gpu, CUgraph graph) : gpu_(gpu) {
  gpu_.check(gpu_.driver().graph_instantiate(&exec_, graph, 0), "cuGraphInstantiateWithFlags");
}

GraphExec::~GraphExec() {
  if (!exec_) return;
  release(gpu_, [&](const Driver& driver) { driver.graph_exec_destroy(exec_); });
}

GraphExec::GraphExec(GraphExec&& other) noexcept
    : gpu_(other.gpu_), exec_(std::exchange(other.exec_, nullptr)) {}

void GraphExec::launch(CUstream stream) const {
  gpu_.check(gpu_.driver().graph_launch(exec_, stream), "cuGraphLaunch");
}

GraphExec capture(const Gpu& gpu, CUstream stream, const std::function<void()>& enqueue) {
  const Driver& driver = gpu.driver();
  CUgraph graph = nullptr;
  gpu.check(driver.stream_begin_capture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
            "cuStreamBeginCapture");
  try {
    enqueue();
  } catch (...) {
    driver.stream_end_capture(stream, &graph);
    if (graph) driver.graph_destroy(graph);
    throw;
  }
  gpu.check(driver.stream_end_capture(stream, &graph), "cuStreamEndCapture");
  try {
    GraphExec exec(gpu, graph);
    driver.graph_destroy(graph);
    return exec;
  } catch (const CudaError&) {
    driver.graph_destroy(graph);
    throw;
  }
}

}  // namespace nvfp4
