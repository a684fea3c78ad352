// SPDX-License-Identifier: Apache-2.0
// NVML by dlopen: five functions of its stable C ABI.
#include "tuner/gpu_clock.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <string>

namespace nvfp4 {
namespace {

constexpr int kNvmlClockSm = 1;
// Reasons that slow a card below what was asked of it: power cap, hardware slowdown, heat (software
// and hardware), external power brake. Idle and application clocks are not among them.
constexpr unsigned long long kThrottleReasons = 0x4 | 0x8 | 0x20 | 0x40 | 0x80;

// "GPU-01234567-89ab-...", NVML's spelling of the 32 digits.
std::string nvml_uuid(const std::string& hex) {
  if (hex.size() != 32) return {};
  return fmt::format("GPU-{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4),
                     hex.substr(16, 4), hex.substr(20));
}

}  // namespace

struct GpuClock::Nvml {
  void* library = nullptr;
  void* device = nullptr;
  int (*shutdown)() = nullptr;
  int (*clock)(void*, int, unsigned*) = nullptr;
  int (*reasons)(void*, unsigned long long*) = nullptr;
};

GpuClock::GpuClock(const Gpu& gpu) {
  if (gpu.emulated()) return;
  void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return;
  const auto init = reinterpret_cast<int (*)()>(dlsym(library, "nvmlInit_v2"));
  const auto find =
      reinterpret_cast<int (*)(const char*, void**)>(dlsym(library, "nvmlDeviceGetHandleByUUID"));
  auto nvml = std::make_unique<Nvml>();
  nvml->library = library;
  nvml->shutdown = reinterpret_cast<int (*)()>(dlsym(library, "nvmlShutdown"));
  nvml->clock =
      reinterpret_cast<int (*)(void*, int, unsigned*)>(dlsym(library, "nvmlDeviceGetClockInfo"));
  nvml->reasons = reinterpret_cast<int (*)(void*, unsigned long long*)>(
      dlsym(library, "nvmlDeviceGetCurrentClocksThrottleReasons"));
  if (init == nullptr || find == nullptr || nvml->shutdown == nullptr || init() != 0) {
    dlclose(library);
    return;
  }
  nvml_ = std::move(nvml);
  if (find(nvml_uuid(gpu.uuid()).c_str(), &nvml_->device) != 0) nvml_->device = nullptr;
}

GpuClock::~GpuClock() {
  if (!nvml_) return;
  nvml_->shutdown();
  dlclose(nvml_->library);
}

ClockReading GpuClock::read() const {
  ClockReading reading;
  if (!nvml_ || nvml_->device == nullptr) return reading;
  unsigned mhz = 0;
  if (nvml_->clock != nullptr && nvml_->clock(nvml_->device, kNvmlClockSm, &mhz) == 0) {
    reading.sm_mhz = mhz;
  }
  unsigned long long reasons = 0;
  if (nvml_->reasons != nullptr && nvml_->reasons(nvml_->device, &reasons) == 0) {
    reading.throttled = (reasons & kThrottleReasons) != 0;
  }
  return reading;
}

}  // namespace nvfp4
