// SPDX-License-Identifier: Apache-2.0
// Exports: device and host memory, copies and memsets. Bounds are exact: a copy that leaves its
// allocation by one byte is refused. A copy from device memory that was never written leaves its
// target as uninitialised as its source, so that a kernel that reads it later is still found out.
#include <cstring>

#include "runtime/emulator/driver_abi.h"

using namespace nvfp4;
using namespace nvfp4::emulator;

namespace {

MemoryWork copy_to_device(CUdeviceptr target, const void* source, size_t bytes) {
  return [=](GlobalMemory& memory) {
    std::byte* to = memory.resolve(target, bytes, true);
    if (!to) return CUDA_ERROR_INVALID_VALUE;
    std::memcpy(to, source, bytes);
    return CUDA_SUCCESS;
  };
}

MemoryWork copy_to_host(void* target, CUdeviceptr source, size_t bytes) {
  return [=](GlobalMemory& memory) {
    const std::byte* from = memory.resolve(source, bytes, false);
    if (!from) return CUDA_ERROR_INVALID_VALUE;
    std::memcpy(target, from, bytes);
    return CUDA_SUCCESS;
  };
}

MemoryWork copy_on_device(CUdeviceptr target, CUdeviceptr source, size_t bytes) {
  return [=](GlobalMemory& memory) {
    const std::byte* from = memory.resolve(source, bytes, false);
    std::byte* to = memory.resolve(target, bytes, memory.initialised(source, bytes));
    if (!from || !to) return CUDA_ERROR_INVALID_VALUE;
    std::memmove(to, from, bytes);
    return CUDA_SUCCESS;
  };
}

/// `Unit` is the width of the repeated value.
template <class Unit>
MemoryWork set_memory(CUdeviceptr target, Unit value, size_t count) {
  return [=](GlobalMemory& memory) {
    if (target % sizeof(Unit) != 0) return CUDA_ERROR_INVALID_VALUE;
    std::byte* to = memory.resolve(target, count * sizeof(Unit), true);
    if (!to) return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; ++i) std::memcpy(to + i * sizeof(Unit), &value, sizeof(Unit));
    return CUDA_SUCCESS;
  };
}

/// Copies of no bytes succeed whatever their addresses.
CUresult enqueue(Call kind, CUstream stream, size_t bytes, const MemoryWork& work) {
  return call(kind, CaptureRule::allowed, [&](Context& context) {
    return bytes == 0 ? CUDA_SUCCESS : submit(context, stream, work);
  });
}

CUresult run_now(Call kind, size_t bytes, const MemoryWork& work) {
  return call(kind, CaptureRule::allowed, [&](Context& context) {
    context.device->wait();
    return bytes == 0 ? CUDA_SUCCESS : submit(context, nullptr, work);
  });
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuMemGetInfo(size_t* free, size_t* total) {
  if (!free || !total) return CUDA_ERROR_INVALID_VALUE;
  return call(Call::context, CaptureRule::allowed, [&](Context& context) {
    const GlobalMemory& memory = context.device->memory();
    *total = memory.capacity();
    *free = memory.capacity() - memory.used();
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemAlloc(CUdeviceptr* address, size_t bytes) {
  if (!address || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  return call(Call::alloc, CaptureRule::unsafe, [&](Context& context) {
    *address = context.device->memory().allocate(bytes);
    return *address ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
  });
}

CUresult CUDAAPI cuMemFree(CUdeviceptr address) {
  return call(Call::free, CaptureRule::unsafe, [&](Context& context) {
    context.device->wait();
    const bool freed = address == 0 || context.device->memory().free(address);
    return freed ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult CUDAAPI cuMemHostAlloc(void** address, size_t bytes, unsigned int) {
  if (!address || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  return call(Call::alloc, CaptureRule::unsafe, [&](Context&) {
    auto memory = std::make_unique<std::byte[]>(bytes);
    *address = memory.get();
    state().host_memory.emplace(*address, std::move(memory));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuMemFreeHost(void* address) {
  return call(Call::free, CaptureRule::unsafe, [&](Context& context) {
    context.device->wait();
    return state().host_memory.erase(address) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult CUDAAPI cuMemcpyHtoD(CUdeviceptr target, const void* source, size_t bytes) {
  return run_now(Call::copy, bytes, copy_to_device(target, source, bytes));
}

CUresult CUDAAPI cuMemcpyDtoH(void* target, CUdeviceptr source, size_t bytes) {
  return run_now(Call::copy, bytes, copy_to_host(target, source, bytes));
}

CUresult CUDAAPI cuMemcpyDtoD(CUdeviceptr target, CUdeviceptr source, size_t bytes) {
  return run_now(Call::copy, bytes, copy_on_device(target, source, bytes));
}

CUresult CUDAAPI cuMemcpyHtoDAsync(CUdeviceptr target, const void* source, size_t bytes,
                                   CUstream stream) {
  return enqueue(Call::copy, stream, bytes, copy_to_device(target, source, bytes));
}

CUresult CUDAAPI cuMemcpyDtoHAsync(void* target, CUdeviceptr source, size_t bytes,
                                   CUstream stream) {
  return enqueue(Call::copy, stream, bytes, copy_to_host(target, source, bytes));
}

CUresult CUDAAPI cuMemcpyDtoDAsync(CUdeviceptr target, CUdeviceptr source, size_t bytes,
                                   CUstream stream) {
  return enqueue(Call::copy, stream, bytes, copy_on_device(target, source, bytes));
}

CUresult CUDAAPI cuMemsetD8(CUdeviceptr target, unsigned char value, size_t count) {
  return run_now(Call::memset, count, set_memory(target, value, count));
}

CUresult CUDAAPI cuMemsetD32(CUdeviceptr target, unsigned int value, size_t count) {
  return run_now(Call::memset, count, set_memory(target, value, count));
}

CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr target, unsigned char value, size_t count,
                                 CUstream stream) {
  return enqueue(Call::memset, stream, count, set_memory(target, value, count));
}

CUresult CUDAAPI cuMemsetD32Async(CUdeviceptr target, unsigned int value, size_t count,
                                  CUstream stream) {
  return enqueue(Call::memset, stream, count, set_memory(target, value, count));
}

}  // extern "C"
