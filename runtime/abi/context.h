// SPDX-License-Identifier: Apache-2.0
// What stands behind an nvfp4_context, and the two states in which none can be used: the process is
// a fork of the one that made it, or the device is lost.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>
#include <tuple>

#include "runtime/abi/status.h"
#include "runtime/nvfp4_gemm.h"
#include "runtime/weight_kernels.h"

namespace nvfp4::abi {

/// A device with its Runtime, and the selections that were asked for.
class Context {
 public:
  Context(Gpu gpu, const RuntimeOptions& options) : runtime_(std::move(gpu), options) {}

  const Runtime& runtime() const { return runtime_; }
  const Gpu& gpu() const { return runtime_.gpu(); }

  /// Throws StatusError once the device is lost.
  void require_alive() const;
  void set_lost() { lost_ = true; }

  /// A selection and its config as text that lives as long as the context.
  struct Found {
    Selection selection;
    const char* config = "";
  };

  /// Loaded when first asked for; the device's context must be current. Throws as they do.
  const WeightKernels& weight_kernels();

  /// Kept after the first time; then it allocates nothing.
  Found lookup(const GemmRequest& request, int64_t m);

 private:
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, Activation, Policy>;

  Runtime runtime_;
  std::atomic<bool> lost_ = false;
  std::mutex weight_kernels_mutex_;
  std::optional<WeightKernels> weight_kernels_;
  std::shared_mutex mutex_;
  std::map<Key, Found> found_;
  std::set<std::string> texts_;
};

/// The context behind a handle. Throws StatusError: NVFP4_INVALID_HANDLE, NVFP4_FORKED,
/// NVFP4_DEVICE_LOST.
std::shared_ptr<Context> find_context(nvfp4_context handle);

/// Throws StatusError in a child of a process that had a context.
void require_not_forked();

/// Runs `body` with the device's context current; a lost device is remembered.
template <class Body>
nvfp4_status guarded_on(Context& context, const Body& body) noexcept {
  const nvfp4_status status = guarded([&] {
    context.require_alive();
    const ContextScope scope(context.gpu());
    body();
  });
  if (status == NVFP4_DEVICE_LOST) context.set_lost();
  return status;
}

/// The same for the context behind a handle: body(Context&).
template <class Body>
nvfp4_status guarded_on(nvfp4_context handle, const Body& body) noexcept {
  std::shared_ptr<Context> context;
  const nvfp4_status status = guarded([&] { context = find_context(handle); });
  if (status != NVFP4_OK) return status;
  return guarded_on(*context, [&] { body(*context); });
}

/// A problem as its caller states it, checked but for n and k.
GemmRequest request_of(const nvfp4_problem& problem);

}  // namespace nvfp4::abi
