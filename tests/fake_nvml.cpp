// SPDX-License-Identifier: Apache-2.0
// A stand-in for libnvidia-ml whose card the environment describes, read anew at every call:
// FAKE_NVML="mig=1;pids=1,2;mps=3;mhz=1980;celsius=44;milliwatts=698000;reasons=4;slice=1". What is
// not named is zero or empty; "pids=self" is the calling process; "init=1" refuses to start.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr int kNotFound = 6;
constexpr int kInsufficientSize = 7;
char card, slice;  // their addresses are the handles

std::string value(const std::string& key) {
  const char* text = std::getenv("FAKE_NVML");
  std::istringstream stream(text ? text : "");
  for (std::string part; std::getline(stream, part, ';');) {
    if (part.rfind(key + "=", 0) == 0) return part.substr(key.size() + 1);
  }
  return {};
}

unsigned long long number(const std::string& key) {
  return std::strtoull(value(key).c_str(), nullptr, 0);
}

template <class T>
int answer(void* device, T* out, const char* key) {
  if (device != &card) return kNotFound;
  *out = static_cast<T>(number(key));
  return 0;
}

struct ProcessInfo {
  unsigned pid;
  unsigned long long used_memory;
  unsigned gpu_instance;
  unsigned compute_instance;
};

int list(const char* key, unsigned* count, ProcessInfo* processes) {
  std::istringstream stream(value(key));
  std::vector<unsigned> pids;
  for (std::string part; std::getline(stream, part, ',');) {
    pids.push_back(part == "self" ? static_cast<unsigned>(getpid())
                                  : static_cast<unsigned>(std::stoul(part)));
  }
  const bool fits = pids.size() <= *count;
  for (size_t i = 0; fits && i < pids.size(); ++i) processes[i] = {.pid = pids[i]};
  *count = static_cast<unsigned>(pids.size());
  return fits ? 0 : kInsufficientSize;
}

}  // namespace

EXPORT int nvmlInit_v2() { return static_cast<int>(number("init")); }
EXPORT int nvmlShutdown() { return 0; }
EXPORT int nvmlDeviceGetHandleByUUID(const char* uuid, void** device) {
  const bool sliced = number("slice") != 0;
  if (std::strncmp(uuid, sliced ? "MIG-" : "GPU-", 4) != 0) return kNotFound;
  *device = sliced ? &slice : &card;
  return 0;
}
EXPORT int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void* device, void** parent) {
  if (device != &slice) return kNotFound;
  *parent = &card;
  return 0;
}
EXPORT int nvmlDeviceGetUUID(void* device, char* text, unsigned size) {
  if (device != &card) return kNotFound;
  std::strncpy(text, "GPU-of-the-slice", size);
  return 0;
}
EXPORT int nvmlDeviceGetClockInfo(void* device, int, unsigned* out) {
  return answer(device, out, "mhz");
}
EXPORT int nvmlDeviceGetTemperature(void* device, int, unsigned* out) {
  return answer(device, out, "celsius");
}
EXPORT int nvmlDeviceGetPowerUsage(void* device, unsigned* out) {
  return answer(device, out, "milliwatts");
}
EXPORT int nvmlDeviceGetCurrentClocksThrottleReasons(void* device, unsigned long long* out) {
  return answer(device, out, "reasons");
}
EXPORT int nvmlDeviceGetMigMode(void* device, unsigned* now, unsigned* pending) {
  *pending = 0;
  return answer(device, now, "mig");
}
EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(void*, unsigned* count, ProcessInfo* out) {
  return list("pids", count, out);
}
EXPORT int nvmlDeviceGetMPSComputeRunningProcesses_v3(void*, unsigned* count, ProcessInfo* out) {
  return list("mps", count, out);
}
