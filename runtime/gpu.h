// SPDX-License-Identifier: Apache-2.0
// One opened GPU, real or emulated: driver, context and physical facts. A Gpu is a cheap handle;
// every object made from it (runtime/cuda.h) keeps it alive.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "generator/device.h"
#include "runtime/driver.h"

namespace nvfp4 {

/// A driver call that failed.
class CudaError : public std::runtime_error {
 public:
  /// `call` is the function's name, `detail` (optional) what the driver added, e.g. a JIT log.
  CudaError(const DriverTable& driver, CUresult code, std::string_view call,
            std::string_view detail = {});

  CUresult code() const { return code_; }
  bool is_sticky() const;

 private:
  CUresult code_;
};

/// True for the codes after which the context, and with it every later call of the process, is
/// lost.
bool is_sticky(CUresult code);

/// "--device" names something that does not exist; the message lists what does.
class UnknownDevice : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Gpu {
 public:
  /// Device `ordinal` with its primary context, made current in the calling thread.
  static Gpu open(std::shared_ptr<const Driver> driver, int ordinal);

  /// The context that is current in the calling thread, borrowed; its owner keeps it alive.
  static Gpu from_current_context(std::shared_ptr<const Driver> driver);

  const Driver& driver() const;
  CUdevice ordinal() const;
  CUcontext context() const;
  const Device& facts() const;
  bool emulated() const { return facts().emulated; }

  /// 32 hex digits that name this very card.
  std::string uuid() const;

  /// Throws CudaError unless `code` is CUDA_SUCCESS.
  void check(CUresult code, std::string_view call) const;

 private:
  struct State;
  explicit Gpu(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

/// Makes a Gpu's context current in this thread for a scope, and restores what was current before.
class ContextScope {
 public:
  explicit ContextScope(const Gpu& gpu);
  ~ContextScope();
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  Gpu gpu_;
  bool pushed_ = false;
};

/// How many GPUs the driver lists. Throws DriverError where there is no driver, and CudaError.
int gpu_count();

struct OpenedDevice {
  Gpu gpu;
  std::string
      notice;  ///< one line for the user when "auto" fell back to the emulated device, or empty
};

/// Opens what `spec` names: "auto" (the first usable GPU, else emulated:h100), an ordinal "0".."N",
/// or "emulated:NAME" with NAME one of known_parts(). Throws UnknownDevice, DriverError or
/// CudaError.
OpenedDevice open_device(std::string_view spec);

}  // namespace nvfp4
