// SPDX-License-Identifier: Apache-2.0
// The driver seam: a table of the CUDA driver entry points the product uses, filled by dlopen
// either from the real libcuda.so.1 or from libnvfp4_emulator.so, which exports the same names over
// host memory and a PTX interpreter. Nothing above this file can tell the two apart, except by
// asking emulated().
#pragma once

#include <cuda.h>

#include <memory>
#include <stdexcept>
#include <string>

namespace nvfp4 {

/// No usable driver library or GPU: the message names what was looked for and what to install.
class DriverError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class DriverSource {
  gpu,      ///< NVFP4_LIBCUDA, a libcuda.so.1 the process has already, the loader's, WSL's
  emulator  ///< NVFP4_EMULATOR, beside this executable or library, ../lib beside it, the loader's
};

/// The entry points, under the names of cuda.h without "cu". Each returns a CUresult and has the
/// meaning and the thread-safety of the CUDA driver API's function.
struct DriverTable {
  decltype(&::cuInit) init = nullptr;
  decltype(&::cuDriverGetVersion) driver_get_version = nullptr;
  decltype(&::cuGetErrorName) get_error_name = nullptr;
  decltype(&::cuGetErrorString) get_error_string = nullptr;

  decltype(&::cuDeviceGetCount) device_get_count = nullptr;
  decltype(&::cuDeviceGet) device_get = nullptr;
  decltype(&::cuDeviceGetName) device_get_name = nullptr;
  decltype(&::cuDeviceGetUuid) device_get_uuid = nullptr;
  decltype(&::cuDeviceGetAttribute) device_get_attribute = nullptr;
  decltype(&::cuDeviceTotalMem) device_total_mem = nullptr;
  decltype(&::cuDevicePrimaryCtxRetain) device_primary_ctx_retain = nullptr;
  decltype(&::cuDevicePrimaryCtxRelease) device_primary_ctx_release = nullptr;

  decltype(&::cuCtxGetCurrent) ctx_get_current = nullptr;
  decltype(&::cuCtxSetCurrent) ctx_set_current = nullptr;
  decltype(&::cuCtxPushCurrent) ctx_push_current = nullptr;
  decltype(&::cuCtxPopCurrent) ctx_pop_current = nullptr;
  decltype(&::cuCtxGetDevice) ctx_get_device = nullptr;
  decltype(&::cuCtxSynchronize) ctx_synchronize = nullptr;

  decltype(&::cuMemGetInfo) mem_get_info = nullptr;
  decltype(&::cuMemAlloc) mem_alloc = nullptr;
  decltype(&::cuMemFree) mem_free = nullptr;
  decltype(&::cuMemHostAlloc) mem_host_alloc = nullptr;
  decltype(&::cuMemFreeHost) mem_free_host = nullptr;
  decltype(&::cuMemcpyHtoD) memcpy_h_to_d = nullptr;
  decltype(&::cuMemcpyDtoH) memcpy_d_to_h = nullptr;
  decltype(&::cuMemcpyDtoD) memcpy_d_to_d = nullptr;
  decltype(&::cuMemcpyHtoDAsync) memcpy_h_to_d_async = nullptr;
  decltype(&::cuMemcpyDtoHAsync) memcpy_d_to_h_async = nullptr;
  decltype(&::cuMemcpyDtoDAsync) memcpy_d_to_d_async = nullptr;
  decltype(&::cuMemsetD8) memset_d8 = nullptr;
  decltype(&::cuMemsetD32) memset_d32 = nullptr;
  decltype(&::cuMemsetD8Async) memset_d8_async = nullptr;
  decltype(&::cuMemsetD32Async) memset_d32_async = nullptr;

  decltype(&::cuModuleLoadDataEx) module_load_data_ex = nullptr;
  decltype(&::cuModuleUnload) module_unload = nullptr;
  decltype(&::cuModuleGetFunction) module_get_function = nullptr;
  decltype(&::cuFuncGetAttribute) func_get_attribute = nullptr;
  decltype(&::cuFuncSetAttribute) func_set_attribute = nullptr;
  decltype(&::cuOccupancyMaxActiveBlocksPerMultiprocessor) occupancy_max_active_blocks = nullptr;
  decltype(&::cuLaunchKernelEx) launch_kernel_ex = nullptr;
  decltype(&::cuLaunchHostFunc) launch_host_func = nullptr;               ///< null: it has none
  decltype(&::cuTensorMapEncodeTiled) tensor_map_encode_tiled = nullptr;  ///< null: it has none

  decltype(&::cuStreamCreate) stream_create = nullptr;
  decltype(&::cuStreamDestroy) stream_destroy = nullptr;
  decltype(&::cuStreamSynchronize) stream_synchronize = nullptr;
  decltype(&::cuStreamQuery) stream_query = nullptr;
  decltype(&::cuStreamWaitEvent) stream_wait_event = nullptr;
  decltype(&::cuStreamBeginCapture) stream_begin_capture = nullptr;
  decltype(&::cuStreamEndCapture) stream_end_capture = nullptr;
  decltype(&::cuStreamIsCapturing) stream_is_capturing = nullptr;

  decltype(&::cuGraphInstantiateWithFlags) graph_instantiate = nullptr;
  decltype(&::cuGraphLaunch) graph_launch = nullptr;
  decltype(&::cuGraphDestroy) graph_destroy = nullptr;
  decltype(&::cuGraphExecDestroy) graph_exec_destroy = nullptr;

  decltype(&::cuEventCreate) event_create = nullptr;
  decltype(&::cuEventDestroy) event_destroy = nullptr;
  decltype(&::cuEventRecord) event_record = nullptr;
  decltype(&::cuEventSynchronize) event_synchronize = nullptr;
  decltype(&::cuEventQuery) event_query = nullptr;
  decltype(&::cuEventElapsedTime) event_elapsed_time = nullptr;
};

/// An opened driver library, initialised (cuInit) and immutable. It is never unloaded.
class Driver : public DriverTable {
 public:
  /// Throws DriverError when no library of that kind can be loaded and initialised.
  static std::shared_ptr<const Driver> open(DriverSource source);

  /// True for the emulator, however it was found.
  bool emulated() const { return emulated_; }

  /// CUDA version the driver supports, as 1000 * major + 10 * minor.
  int version() const { return version_; }

  /// The library as it was found, e.g. "libcuda.so.1".
  const std::string& library() const { return library_; }

  /// A symbol outside the table, e.g. one of runtime/emulator/emulator.h; null when absent.
  void* symbol(const char* name) const;

 private:
  Driver() = default;

  bool emulated_ = false;
  int version_ = 0;
  std::string library_;
  void* handle_ = nullptr;
};

}  // namespace nvfp4
