// SPDX-License-Identifier: Apache-2.0
// Finds a driver library and fills the table. Only symbols whose ABI is the same from CUDA 12.0
// to 13.x are used, each under the versioned name of that ABI, so headers and driver need not
// match.
#include "runtime/driver.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "runtime/installed_files.h"

namespace nvfp4 {
namespace {

constexpr char kCudaLibrary[] = "libcuda.so.1";
constexpr char kEmulatorLibrary[] = "libnvfp4_emulator.so";
constexpr int kOldestVersion = 12000;  // the first whose cubins and launch attributes are ours
constexpr char kInstallDriver[] = "install NVIDIA driver 525 or newer";

/// Calls visit(symbol, pointer) for every entry point of the table.
template <class Visitor>
void visit_entry_points(DriverTable& t, const Visitor& visit) {
  visit("cuInit", t.init);
  visit("cuDriverGetVersion", t.driver_get_version);
  visit("cuGetErrorName", t.get_error_name);
  visit("cuGetErrorString", t.get_error_string);

  visit("cuDeviceGetCount", t.device_get_count);
  visit("cuDeviceGet", t.device_get);
  visit("cuDeviceGetName", t.device_get_name);
  visit("cuDeviceGetUuid_v2", t.device_get_uuid);
  visit("cuDeviceGetAttribute", t.device_get_attribute);
  visit("cuDeviceTotalMem_v2", t.device_total_mem);
  visit("cuDevicePrimaryCtxRetain", t.device_primary_ctx_retain);
  visit("cuDevicePrimaryCtxRelease_v2", t.device_primary_ctx_release);

  visit("cuCtxGetCurrent", t.ctx_get_current);
  visit("cuCtxSetCurrent", t.ctx_set_current);
  visit("cuCtxPushCurrent_v2", t.ctx_push_current);
  visit("cuCtxPopCurrent_v2", t.ctx_pop_current);
  visit("cuCtxGetDevice", t.ctx_get_device);
  visit("cuCtxSynchronize", t.ctx_synchronize);

  visit("cuMemGetInfo_v2", t.mem_get_info);
  visit("cuMemAlloc_v2", t.mem_alloc);
  visit("cuMemFree_v2", t.mem_free);
  visit("cuMemHostAlloc", t.mem_host_alloc);
  visit("cuMemFreeHost", t.mem_free_host);
  visit("cuMemcpyHtoD_v2", t.memcpy_h_to_d);
  visit("cuMemcpyDtoH_v2", t.memcpy_d_to_h);
  visit("cuMemcpyDtoD_v2", t.memcpy_d_to_d);
  visit("cuMemcpyHtoDAsync_v2", t.memcpy_h_to_d_async);
  visit("cuMemcpyDtoHAsync_v2", t.memcpy_d_to_h_async);
  visit("cuMemcpyDtoDAsync_v2", t.memcpy_d_to_d_async);
  visit("cuMemsetD8_v2", t.memset_d8);
  visit("cuMemsetD32_v2", t.memset_d32);
  visit("cuMemsetD8Async", t.memset_d8_async);
  visit("cuMemsetD32Async", t.memset_d32_async);

  visit("cuModuleLoadDataEx", t.module_load_data_ex);
  visit("cuModuleUnload", t.module_unload);
  visit("cuModuleGetFunction", t.module_get_function);
  visit("cuFuncGetAttribute", t.func_get_attribute);
  visit("cuFuncSetAttribute", t.func_set_attribute);
  visit("cuOccupancyMaxActiveBlocksPerMultiprocessor", t.occupancy_max_active_blocks);
  visit("cuLaunchKernelEx", t.launch_kernel_ex);

  visit("cuStreamCreate", t.stream_create);
  visit("cuStreamDestroy_v2", t.stream_destroy);
  visit("cuStreamSynchronize", t.stream_synchronize);
  visit("cuStreamQuery", t.stream_query);
  visit("cuStreamWaitEvent", t.stream_wait_event);
  visit("cuStreamBeginCapture_v2", t.stream_begin_capture);
  visit("cuStreamEndCapture", t.stream_end_capture);
  visit("cuStreamIsCapturing", t.stream_is_capturing);

  visit("cuGraphInstantiateWithFlags", t.graph_instantiate);
  visit("cuGraphLaunch", t.graph_launch);
  visit("cuGraphDestroy", t.graph_destroy);
  visit("cuGraphExecDestroy", t.graph_exec_destroy);

  visit("cuEventCreate", t.event_create);
  visit("cuEventDestroy_v2", t.event_destroy);
  visit("cuEventRecord", t.event_record);
  visit("cuEventSynchronize", t.event_synchronize);
  visit("cuEventQuery", t.event_query);
  visit("cuEventElapsedTime", t.event_elapsed_time);
}

struct Library {
  void* handle = nullptr;
  std::string path;
};

/// The first of `paths` that loads; none: throws, naming the last failure and `advice`.
Library load_first(const std::vector<std::string>& paths, std::string_view advice) {
  std::string reason;
  for (const std::string& path : paths) {
    if (void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return {handle, path};
    const char* error = dlerror();
    // A library that exists but does not load says more than those that do not exist.
    if (reason.empty() || std::filesystem::exists(path)) reason = error ? error : path;
  }
  throw DriverError(fmt::format("{}: {}", reason, advice));
}

Library load_cuda() {
  if (const char* path = std::getenv("NVFP4_LIBCUDA"); path && *path) {
    return load_first({path}, "NVFP4_LIBCUDA must name a CUDA driver library");
  }
  if (void* handle = dlopen(kCudaLibrary, RTLD_NOW | RTLD_NOLOAD)) return {handle, kCudaLibrary};
  return load_first(
      {kCudaLibrary, "/usr/lib/wsl/lib/libcuda.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
       "/usr/lib64/libcuda.so.1", "/usr/lib/aarch64-linux-gnu/libcuda.so.1"},
      kInstallDriver);
}

Library load_emulator() {
  if (const char* path = std::getenv("NVFP4_EMULATOR"); path && *path) {
    return load_first({path}, "NVFP4_EMULATOR must name libnvfp4_emulator.so");
  }
  std::vector<std::string> paths;
  for (const auto& folder : own_folders()) {
    paths.push_back(folder / kEmulatorLibrary);
    paths.push_back(folder.parent_path() / "lib" / kEmulatorLibrary);
  }
  paths.push_back(kEmulatorLibrary);
  return load_first(paths, "put it beside the program or name it in NVFP4_EMULATOR");
}

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

}  // namespace

std::shared_ptr<const Driver> Driver::open(DriverSource source) {
  const Library library = source == DriverSource::gpu ? load_cuda() : load_emulator();
  std::shared_ptr<Driver> driver(new Driver);
  driver->library_ = library.path;
  driver->handle_ = library.handle;
  driver->emulated_ = driver->symbol("nvfp4_emulator_device") != nullptr;
  visit_entry_points(*driver, [&](const char* name, auto& pointer) {
    pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(driver->symbol(name));
    if (!pointer) {
      throw DriverError(fmt::format("{} has no {}: {}", library.path, name, kInstallDriver));
    }
  });
  // Only what runs on sm_90 needs it.
  driver->tensor_map_encode_tiled =
      reinterpret_cast<decltype(&::cuTensorMapEncodeTiled)>(driver->symbol("cuTensorMapEncodeTiled"));
  // Only measuring needs it; the emulated device has a clock of its own.
  driver->launch_host_func =
      reinterpret_cast<decltype(&::cuLaunchHostFunc)>(driver->symbol("cuLaunchHostFunc"));
  if (const CUresult result = driver->init(0); result != CUDA_SUCCESS) {
    const char* name = nullptr;
    driver->get_error_name(result, &name);
    const char* advice =
        result == CUDA_ERROR_STUB_LIBRARY ? " (this is the toolkit's stub, not the driver)" : "";
    throw DriverError(fmt::format("cuInit of {} failed: {} {}{}", library.path,
                                  static_cast<int>(result), name ? name : "unknown error", advice));
  }
  driver->driver_get_version(&driver->version_);
  if (driver->version_ < kOldestVersion) {
    throw DriverError(fmt::format("{} supports CUDA {}, {} is needed: {}", library.path,
                                  version_text(driver->version_), version_text(kOldestVersion),
                                  kInstallDriver));
  }
  return driver;
}

void* Driver::symbol(const char* name) const { return dlsym(handle_, name); }

}  // namespace nvfp4
