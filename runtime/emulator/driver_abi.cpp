// SPDX-License-Identifier: Apache-2.0
// Exports: initialisation, devices and contexts.
#include "runtime/emulator/driver_abi.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace nvfp4;
using namespace nvfp4::emulator;

namespace {

constexpr int kDriverVersion = 13000;  // the CUDA whose PTX the interpreter is tested with
// Whole GB/s at this width are whole kHz of memory clock: the bandwidth survives the round trip
// through the two attributes exactly.
constexpr int kMemoryBusBits = 2000;

const Device* device_of(CUdevice ordinal) {
  const auto& parts = emulated_parts();
  if (ordinal < 0 || ordinal >= static_cast<int>(parts.size())) return nullptr;
  return &parts[ordinal]->device;
}

std::optional<int64_t> device_attribute(const Device& d, CUdevice_attribute which) {
  switch (which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      return d.arch.major;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      return d.arch.minor;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      return d.sm_count;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
      return d.l2_bytes;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
      return 48 * 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      return d.smem_per_block;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
      return d.smem_per_sm;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
      return d.registers_per_sm;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
      return d.registers_per_sm;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
      return d.threads_per_sm;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
      return d.ctas_per_sm;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      return 1024;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
      return 32;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
      return static_cast<int64_t>(d.clock_hz / 1e3);
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
      return static_cast<int64_t>(d.memory_bandwidth / (1e3 * 2 * kMemoryBusBits / 8));
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
      return kMemoryBusBits;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
      return 1;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
      return CU_COMPUTEMODE_DEFAULT;
    case CU_DEVICE_ATTRIBUTE_ECC_ENABLED:
    case CU_DEVICE_ATTRIBUTE_INTEGRATED:
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
    case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID:
    case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
      return 0;
    default:
      return std::nullopt;
  }
}

/// A query of a device, which needs no context and survives its loss.
template <class Body>
CUresult query(CUdevice ordinal, const Body& body) {
  const std::lock_guard lock(state().mutex);
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const Device* device = device_of(ordinal);
  return device ? body(*device) : CUDA_ERROR_INVALID_DEVICE;
}

void read_environment(DriverState& driver) {
  if (const char* script = std::getenv("NVFP4_EMULATOR_FAULTS")) driver.script.add(script);
  if (const char* threads = std::getenv("NVFP4_EMULATOR_THREADS")) {
    std::from_chars(threads, threads + std::strlen(threads), driver.options.threads);
  }
}

/// Contexts may be changed without one being current, and after the device was lost.
template <class Body>
CUresult change_context(const Body& body) {
  DriverState& driver = state();
  std::unique_lock lock(driver.mutex);
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (const auto effect = driver.script.count(Call::context)) return apply_effect(*effect, lock);
  return body(driver);
}

/// The primary context of a device, made on first use.
Context& primary_context(DriverState& driver, CUdevice device) {
  if (!driver.primary.contains(device)) {
    const CUcontext handle =
        driver.contexts.add(std::make_unique<Context>(Context{nullptr, device, 0, nullptr}));
    driver.contexts.find(handle)->handle = handle;
    driver.primary[device] = handle;
  }
  return *driver.contexts.find(driver.primary[device]);
}

/// Keeps a file PID.DEVICE in the folder of NVFP4_EMULATOR_CONTEXTS while the context is there.
void list_context(CUdevice device, bool there) {
  const char* folder = std::getenv("NVFP4_EMULATOR_CONTEXTS");
  if (folder == nullptr) return;
  const std::string path =
      std::string(folder) + "/" + std::to_string(getpid()) + "." + std::to_string(device);
  if (!there) {
    std::remove(path.c_str());
  } else if (std::FILE* file = std::fopen(path.c_str(), "w")) {
    std::fclose(file);
  }
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuInit(unsigned int flags) {
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  DriverState& driver = state();
  std::unique_lock lock(driver.mutex);
  if (driver.owner_pid == 0) {
    driver.owner_pid = getpid();
    read_environment(driver);
  }
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;  // a forked child
  if (const auto effect = driver.script.count(Call::init)) return apply_effect(*effect, lock);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDriverGetVersion(int* version) {
  if (!version) return CUDA_ERROR_INVALID_VALUE;
  *version = kDriverVersion;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetCount(int* count) {
  if (!count) return CUDA_ERROR_INVALID_VALUE;
  return query(0, [&](const Device&) {
    *count = static_cast<int>(emulated_parts().size());
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDeviceGet(CUdevice* device, int ordinal) {
  if (!device) return CUDA_ERROR_INVALID_VALUE;
  return query(ordinal, [&](const Device&) {
    *device = ordinal;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDeviceGetName(char* name, int size, CUdevice device) {
  if (!name || size <= 0) return CUDA_ERROR_INVALID_VALUE;
  return query(device, [&](const Device& d) {
    const std::string text = d.name + " (emulated)";
    const size_t length = std::min(text.size(), static_cast<size_t>(size) - 1);
    text.copy(name, length);
    name[length] = '\0';
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  if (!uuid) return CUDA_ERROR_INVALID_VALUE;
  return query(device, [&](const Device&) {
    const std::string text = "emulated:" + std::string(emulated_parts()[device]->id);
    std::fill(std::begin(uuid->bytes), std::end(uuid->bytes), '\0');
    text.copy(uuid->bytes, sizeof(uuid->bytes));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDeviceGetAttribute(int* value, CUdevice_attribute which, CUdevice device) {
  if (!value) return CUDA_ERROR_INVALID_VALUE;
  return query(device, [&](const Device& d) {
    const std::optional<int64_t> found = device_attribute(d, which);
    if (!found) return CUDA_ERROR_INVALID_VALUE;
    *value = static_cast<int>(*found);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDeviceTotalMem(size_t* bytes, CUdevice device) {
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  return query(device, [&](const Device& d) {
    *bytes = static_cast<size_t>(d.memory_bytes);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  if (!context) return CUDA_ERROR_INVALID_VALUE;
  return change_context([&](DriverState& driver) {
    const Device* part = device_of(device);
    if (!part) return CUDA_ERROR_INVALID_DEVICE;
    Context& primary = primary_context(driver, device);
    if (!primary.device) {
      if (driver.sticky != CUDA_SUCCESS) return driver.sticky;
      primary.device = std::make_unique<EmulatedDevice>(*part, driver.script, driver.options);
    }
    if (++primary.retained == 1) list_context(device, true);
    *context = primary.handle;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice device) {
  return change_context([&](DriverState& driver) {
    if (!device_of(device)) return CUDA_ERROR_INVALID_DEVICE;
    Context& primary = primary_context(driver, device);
    if (primary.retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
    if (--primary.retained > 0) return CUDA_SUCCESS;
    driver.clear(primary);
    list_context(device, false);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxGetCurrent(CUcontext* context) {
  if (!context) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(state().mutex);
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  *context = context_stack().empty() ? nullptr : context_stack().back();
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxSetCurrent(CUcontext context) {
  return change_context([&](DriverState& driver) {
    if (context && !driver.contexts.find(context)) return CUDA_ERROR_INVALID_CONTEXT;
    if (!context_stack().empty()) context_stack().pop_back();
    if (context) context_stack().push_back(context);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxPushCurrent(CUcontext context) {
  return change_context([&](DriverState& driver) {
    if (!driver.contexts.find(context)) return CUDA_ERROR_INVALID_CONTEXT;
    return context_stack().push_back(context) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
  });
}

CUresult CUDAAPI cuCtxPopCurrent(CUcontext* context) {
  return change_context([&](DriverState&) {
    if (context_stack().empty()) return CUDA_ERROR_INVALID_CONTEXT;
    if (context) *context = context_stack().back();
    context_stack().pop_back();
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxGetDevice(CUdevice* device) {
  if (!device) return CUDA_ERROR_INVALID_VALUE;
  return change_context([&](DriverState& driver) {
    if (context_stack().empty()) return CUDA_ERROR_INVALID_CONTEXT;
    *device = driver.contexts.find(context_stack().back())->ordinal;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuCtxSynchronize(void) {
  return call(Call::sync, CaptureRule::waits, [](Context& context) {
    context.device->wait();
    return CUDA_SUCCESS;
  });
}

}  // extern "C"
