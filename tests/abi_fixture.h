// SPDX-License-Identifier: Apache-2.0
// The C interface on a device: a context for one test case, buffers, and every word that the
// library logged. NVFP4_TEST_DEVICE=0 takes a real GPU instead of the emulated one: grouped_test,
// outputs_test, abi_weights_test and abi_threads_test then show what only silicon can.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "nvfp4/nvfp4.h"
#include "runtime/cuda.h"

namespace nvfp4 {

/// The named part emulated, or the device that NVFP4_TEST_DEVICE asks for.
inline std::string test_device(const std::string& part = "h100") {
  const char* real = std::getenv("NVFP4_TEST_DEVICE");
  return real != nullptr ? real : "emulated:" + part;
}

struct AbiContext {
  explicit AbiContext(const std::string& part = "h100", const char* database = "")
      : device(test_device(part)), gpu(open_device(device).gpu) {
    nvfp4_context_options options{.size = sizeof options};
    options.device = device.c_str();
    options.database = database;
    options.log = [](void* user, const char* message) {
      static_cast<AbiContext*>(user)->log.emplace_back(message);
    };
    options.log_user = this;
    REQUIRE(nvfp4_context_create(&options, &handle) == NVFP4_OK);
  }
  ~AbiContext() { nvfp4_context_destroy(handle); }
  AbiContext(const AbiContext&) = delete;
  AbiContext& operator=(const AbiContext&) = delete;

  std::string device;
  Gpu gpu;  ///< for buffers; the library opens its own
  nvfp4_context handle = 0;
  std::vector<std::string> log;
};

template <class T>
DeviceBuffer upload(const Gpu& gpu, const std::vector<T>& values) {
  DeviceBuffer buffer(gpu, values.size() * sizeof(T));
  buffer.upload(bytes_of(values));
  return buffer;
}

template <class T>
std::vector<T> download(const DeviceBuffer& buffer) {
  std::vector<T> values(buffer.size() / sizeof(T));
  buffer.download(bytes_of(values));
  return values;
}

inline nvfp4_problem problem_of(int64_t n, int64_t k, uint32_t flags = 0) {
  nvfp4_problem problem{};
  problem.size = sizeof problem;
  problem.n = n;
  problem.k = k;
  problem.flags = flags;
  return problem;
}

/// The status's name and this thread's last error: what a caller would print.
inline std::string said(nvfp4_status status) {
  if (status == NVFP4_OK) return "NVFP4_OK";
  return std::string(nvfp4_status_name(status)) + ": " + nvfp4_last_error();
}

}  // namespace nvfp4
