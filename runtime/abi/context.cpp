// SPDX-License-Identifier: Apache-2.0
#include "runtime/abi/context.h"

#include <pthread.h>

#include <mutex>

#include "generator/config_text.h"
#include "runtime/abi/handle_table.h"

namespace nvfp4::abi {
namespace {

constexpr size_t kMaxKept = 1 << 16;  ///< selections a context keeps: about 20 MB

std::atomic<bool> had_context = false;
std::atomic<bool> forked = false;

// Never destroyed: no driver call after main has returned, unless the program makes it.
HandleTable<Context>& contexts() {
  static auto& table = *new HandleTable<Context>;
  return table;
}

// Makes current again what was current before a device was opened.
class RestoreCurrent {
 public:
  explicit RestoreCurrent(std::shared_ptr<const Driver> driver) : driver_(std::move(driver)) {
    driver_->ctx_get_current(&context_);
  }
  ~RestoreCurrent() { driver_->ctx_set_current(context_); }
  RestoreCurrent(const RestoreCurrent&) = delete;
  RestoreCurrent& operator=(const RestoreCurrent&) = delete;

  bool any() const { return context_ != nullptr; }

 private:
  std::shared_ptr<const Driver> driver_;
  CUcontext context_ = nullptr;
};

std::shared_ptr<Context> open_context(const char* device, const RuntimeOptions& options) {
  const std::string_view spec = device == nullptr ? "" : device;
  if (spec == "auto") refuse("device is \"auto\": that is nvfp4-tune's; null is the library's");
  const bool emulated = spec.starts_with("emulated:");
  const auto driver = Driver::open(emulated ? DriverSource::emulator : DriverSource::gpu);
  const RestoreCurrent restore(driver);
  const Gpu gpu = device == nullptr && restore.any() ? Gpu::from_current_context(driver)
                                                     : open_device(spec.empty() ? "0" : spec).gpu;
  try {
    return std::make_shared<Context>(gpu, options);
  } catch (const CompilerError& error) {
    throw StatusError(NVFP4_NO_COMPILER, error.what());
  }
}

}  // namespace

void Context::require_alive() const {
  require_not_forked();
  if (lost_) {
    throw StatusError(NVFP4_DEVICE_LOST, "an earlier call found the device's context lost");
  }
}

const WeightKernels& Context::weight_kernels() {
  const std::lock_guard lock(weight_kernels_mutex_);
  if (!weight_kernels_) weight_kernels_.emplace(runtime_);
  return *weight_kernels_;
}

Context::Found Context::lookup(const GemmRequest& request, int64_t m) {
  const Key key(request.n, request.k, m, request.experts, request.act, request.policy);
  {
    const std::shared_lock lock(mutex_);
    if (const auto at = found_.find(key); at != found_.end()) return at->second;
  }
  const Selection selection = runtime_.lookup(request, m);
  const std::unique_lock lock(mutex_);
  const char* text = texts_.insert(config_text(selection.config)).first->c_str();
  const Found found{selection, text};
  if (found_.size() < kMaxKept) found_.emplace(key, found);
  return found;
}

std::shared_ptr<Context> find_context(nvfp4_context handle) {
  require_not_forked();
  std::shared_ptr<Context> context = contexts().find(handle);
  if (!context) {
    throw StatusError(NVFP4_INVALID_HANDLE, fmt::format("{} is no context", handle));
  }
  return context;
}

void require_not_forked() {
  if (!forked) return;
  throw StatusError(NVFP4_FORKED,
                    "this process is a fork of one that used the device: start a new one");
}

GemmRequest request_of(const nvfp4_problem& problem) {
  if (problem.act != NVFP4_BF16 && problem.act != NVFP4_FP16) {
    refuse(fmt::format("act = {} is neither NVFP4_BF16 nor NVFP4_FP16",
                       static_cast<int>(problem.act)));
  }
  if (problem.flags & ~uint32_t{NVFP4_PDL}) {
    refuse(fmt::format("flags = {:#x} has bits that mean nothing here", problem.flags));
  }
  return {.n = problem.n,
          .k = problem.k,
          .act = problem.act == NVFP4_FP16 ? Activation::fp16 : Activation::bf16,
          .policy = problem.flags & NVFP4_PDL ? Policy::graph_pdl : Policy::graph,
          .experts = problem.experts};
}

}  // namespace nvfp4::abi

using namespace nvfp4;
using namespace nvfp4::abi;

extern "C" {

nvfp4_status nvfp4_context_create(const nvfp4_context_options* options, nvfp4_context* context) {
  return guarded([&] {
    require_pointer(context, "context");
    *context = 0;
    require_not_forked();
    const nvfp4_context_options asked =
        options ? read_struct(options, "options")
                : nvfp4_context_options{.size = sizeof(nvfp4_context_options)};
    RuntimeOptions runtime;
    if (asked.database) runtime.database = asked.database;
    if (asked.cache) runtime.cache = asked.cache;
    if (asked.log) {
      runtime.warn = [log = asked.log, user = asked.log_user](const std::string& message) {
        log(user, message.c_str());
      };
    }
    std::shared_ptr<Context> opened = open_context(asked.device, runtime);
    static std::once_flag once;
    std::call_once(once,
                   [] { pthread_atfork(nullptr, nullptr, [] { forked = had_context.load(); }); });
    had_context = true;
    *context = contexts().insert(std::move(opened));
  });
}

nvfp4_status nvfp4_context_destroy(nvfp4_context context) {
  return guarded([&] {
    require_not_forked();
    if (!contexts().remove(context)) {
      throw StatusError(NVFP4_INVALID_HANDLE, fmt::format("{} is no context", context));
    }
  });
}

nvfp4_status nvfp4_device(nvfp4_context context, nvfp4_device_info* info) {
  return guarded([&] {
    const std::shared_ptr<Context> found = find_context(context);
    const Device& facts = found->gpu().facts();
    nvfp4_device_info filled{};
    facts.name.copy(filled.name, sizeof filled.name - 1);
    filled.compute_major = facts.arch.major;
    filled.compute_minor = facts.arch.minor;
    filled.sm_count = facts.sm_count;
    filled.emulated = facts.emulated;
    filled.memory_bytes = facts.memory_bytes;
    write_struct(info, filled, "info");
  });
}

nvfp4_status nvfp4_lookup(nvfp4_context context, const nvfp4_problem* problem, int64_t m,
                          nvfp4_selection* selection) {
  return guarded([&] {
    const std::shared_ptr<Context> found = find_context(context);
    const GemmRequest request = request_of(read_struct(problem, "problem"));
    const Context::Found answer = found->lookup(request, m);
    const Selection& chosen = answer.selection;
    nvfp4_selection filled{};
    filled.config = answer.config;
    filled.match = static_cast<nvfp4_match>(chosen.match);
    filled.measured = chosen.provenance == Provenance::measured;
    filled.expected_us = chosen.expected_us;
    filled.f = chosen.f;
    filled.m_tuned = chosen.m_tuned;
    write_struct(selection, filled, "selection");
  });
}
}
