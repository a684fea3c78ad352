// SPDX-License-Identifier: Apache-2.0
// An emulated device for one test case: opened fresh, forgotten afterwards, so that a latched fault
// or a scripted one never leaks into the next case. And the emulator's own functions, by name.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "runtime/cuda.h"
#include "runtime/emulator/emulator.h"

namespace nvfp4 {

struct EmulatedGpu {
  explicit EmulatedGpu(const std::string& part = "h100")
      : gpu(open_device("emulated:" + part).gpu) {}
  ~EmulatedGpu() { reset(); }
  EmulatedGpu(const EmulatedGpu&) = delete;
  EmulatedGpu& operator=(const EmulatedGpu&) = delete;

  const Driver& driver() const { return gpu.driver(); }

  template <class Function>
  Function call(const char* name) const {
    void* const symbol = gpu.driver().symbol(name);
    REQUIRE(symbol != nullptr);
    return reinterpret_cast<Function>(symbol);
  }

  void reset() const { call<decltype(&nvfp4_emulator_reset)>("nvfp4_emulator_reset")(); }

  void inject(const char* script) const {
    REQUIRE(call<decltype(&nvfp4_emulator_inject)>("nvfp4_emulator_inject")(script) == 0);
  }

  int64_t calls(const char* operation) const {
    return call<decltype(&nvfp4_emulator_calls)>("nvfp4_emulator_calls")(operation);
  }

  std::string report() const {
    const auto read = call<decltype(&nvfp4_emulator_last_report)>("nvfp4_emulator_last_report");
    std::string text(read(nullptr, 0) + 1, '\0');
    read(text.data(), text.size());
    text.pop_back();
    return text;
  }

  Gpu gpu;
};

}  // namespace nvfp4
