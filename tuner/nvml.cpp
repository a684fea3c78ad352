// SPDX-License-Identifier: Apache-2.0
// A dozen functions of NVML's stable C ABI. No header of it is needed.
#include "tuner/nvml.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace nvfp4 {
namespace {

using Handle = void*;

constexpr int kSuccess = 0;
constexpr int kInsufficientSize = 7;
constexpr int kClockSm = 1;
constexpr int kTemperatureGpu = 0;
constexpr unsigned kMostProcesses = 128;
constexpr unsigned kUuidBytes = 96;

// Reasons that slow a card below what was asked of it. Idle and application clocks are not among
// them.
constexpr unsigned long long kPowerCap = 0x4;
constexpr std::array<std::pair<unsigned long long, std::string_view>, 5> kReasons = {
    {{kPowerCap, "power cap"},
     {0x8, "hardware slowdown"},
     {0x20, "heat"},
     {0x40, "heat (hardware)"},
     {0x80, "power brake"}}};

struct ProcessInfo {  // nvmlProcessInfo_t of the functions with _v2 and _v3
  unsigned pid;
  unsigned long long used_memory;
  unsigned gpu_instance;
  unsigned compute_instance;
};
using ListProcesses = int (*)(Handle, unsigned*, ProcessInfo*);

// "01234567-89ab-...", NVML's spelling of the 32 digits.
std::string dashed(const std::string& hex) {
  if (hex.size() != 32) return hex;
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4),
                     hex.substr(16, 4), hex.substr(20));
}

void* open_library(bool emulated) {
  const char* chosen = std::getenv("NVFP4_NVML");
  const bool named = chosen != nullptr && *chosen != '\0';
  if (emulated && !named) return nullptr;
  return dlopen(named ? chosen : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
}

std::vector<int> list(ListProcesses function, Handle device) {
  std::array<ProcessInfo, kMostProcesses> found{};
  unsigned count = kMostProcesses;
  if (function == nullptr) return {};
  const int status = function(device, &count, found.data());
  if (status == kInsufficientSize) count = kMostProcesses;
  if (status != kSuccess && status != kInsufficientSize) return {};
  std::vector<int> pids;
  for (unsigned i = 0; i < count && i < kMostProcesses; ++i) {
    pids.push_back(static_cast<int>(found[i].pid));
  }
  return pids;
}

}  // namespace

struct Card::Nvml {
  void* library = nullptr;
  Handle device = nullptr;
  bool mig = false;
  int (*shutdown)() = nullptr;
  int (*clock)(Handle, int, unsigned*) = nullptr;
  int (*temperature)(Handle, int, unsigned*) = nullptr;
  int (*power)(Handle, unsigned*) = nullptr;
  int (*reasons)(Handle, unsigned long long*) = nullptr;
  int (*mig_mode)(Handle, unsigned*, unsigned*) = nullptr;
  ListProcesses compute = nullptr;
  ListProcesses mps = nullptr;

  ~Nvml() {
    if (shutdown != nullptr) shutdown();
    dlclose(library);
  }

  template <class Function>
  void find(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(dlsym(library, name));
  }

  // The functions, and the card that CUDA calls `uuid`; false without it.
  bool open(std::string& uuid);
};

bool Card::Nvml::open(std::string& uuid) {
  int (*init)() = nullptr;
  int (*by_uuid)(const char*, Handle*) = nullptr;
  int (*parent)(Handle, Handle*) = nullptr;
  int (*uuid_of)(Handle, char*, unsigned) = nullptr;
  find("nvmlInit_v2", init);
  find("nvmlDeviceGetHandleByUUID", by_uuid);
  if (init == nullptr || by_uuid == nullptr || init() != kSuccess) return false;
  find("nvmlShutdown", shutdown);
  find("nvmlDeviceGetClockInfo", clock);
  find("nvmlDeviceGetTemperature", temperature);
  find("nvmlDeviceGetPowerUsage", power);
  find("nvmlDeviceGetCurrentClocksThrottleReasons", reasons);
  find("nvmlDeviceGetMigMode", mig_mode);
  find("nvmlDeviceGetComputeRunningProcesses_v3", compute);
  if (compute == nullptr) find("nvmlDeviceGetComputeRunningProcesses_v2", compute);
  find("nvmlDeviceGetMPSComputeRunningProcesses_v3", mps);
  find("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", parent);
  find("nvmlDeviceGetUUID", uuid_of);
  if (by_uuid(("GPU-" + uuid).c_str(), &device) == kSuccess) {
    uuid = "GPU-" + uuid;
    return true;
  }
  // The driver names a slice, not the card.
  Handle slice = nullptr;
  if (by_uuid(("MIG-" + uuid).c_str(), &slice) != kSuccess) return false;
  mig = true;
  std::array<char, kUuidBytes> text{};
  if (parent == nullptr || parent(slice, &device) != kSuccess) device = slice;
  const bool named = uuid_of != nullptr && uuid_of(device, text.data(), kUuidBytes) == kSuccess;
  uuid = named ? std::string(text.data()) : "MIG-" + uuid;
  return true;
}

Card::Card(const Gpu& gpu) : uuid_(dashed(gpu.uuid())) {
  void* library = open_library(gpu.emulated());
  if (library != nullptr) {
    nvml_ = std::make_unique<Nvml>();
    nvml_->library = library;
    if (nvml_->open(uuid_)) return;
    nvml_.reset();
  }
  uuid_ = "GPU-" + uuid_;
}

Card::~Card() = default;

bool Card::known() const { return nvml_ != nullptr; }

CardReading Card::read() const {
  CardReading reading;
  if (!nvml_) return reading;
  unsigned value = 0;
  if (nvml_->clock != nullptr && nvml_->clock(nvml_->device, kClockSm, &value) == kSuccess) {
    reading.sm_mhz = value;
  }
  if (nvml_->temperature != nullptr &&
      nvml_->temperature(nvml_->device, kTemperatureGpu, &value) == kSuccess) {
    reading.temperature_c = value;
  }
  if (nvml_->power != nullptr && nvml_->power(nvml_->device, &value) == kSuccess) {
    reading.power_w = value * 1e-3;
  }
  unsigned long long reasons = 0;
  if (nvml_->reasons == nullptr || nvml_->reasons(nvml_->device, &reasons) != kSuccess) {
    return reading;
  }
  for (const auto& [bit, name] : kReasons) {
    if ((reasons & bit) == 0) continue;
    reading.power_capped = !reading.throttled && bit == kPowerCap;
    reading.throttled = true;
    reading.reasons += fmt::format("{}{}", reading.reasons.empty() ? "" : ", ", name);
  }
  return reading;
}

CardUse Card::use() const {
  if (!nvml_) return {};
  unsigned now = 0;
  unsigned pending = 0;
  const bool divided = nvml_->mig_mode != nullptr &&
                       nvml_->mig_mode(nvml_->device, &now, &pending) == kSuccess && now == 1;
  return {.mig = nvml_->mig || divided,
          .processes = list(nvml_->compute, nvml_->device),
          .mps = list(nvml_->mps, nvml_->device)};
}

}  // namespace nvfp4
