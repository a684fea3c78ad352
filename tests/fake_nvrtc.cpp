// SPDX-License-Identifier: Apache-2.0
// A stand-in for libnvrtc whose version and health the environment decides: FAKE_NVRTC_VERSION is
// "major.minor", FAKE_NVRTC_RESULT the status of every compilation. It knows no CUDA.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {
constexpr char kPtx[] =
    "//\n// Compiler Build ID: fake-1\n// release 1.2, V1.2.3\n//\n.version 1.0\n";
constexpr char kLog[] = "nvrtc: error: failed to open libnvrtc-builtins.so";
}  // namespace

EXPORT int nvrtcVersion(int* major, int* minor) {
  const char* version = std::getenv("FAKE_NVRTC_VERSION");
  return version && std::sscanf(version, "%d.%d", major, minor) == 2 ? 0 : 3;
}
EXPORT const char* nvrtcGetErrorString(int) { return "NVRTC_ERROR_FAKE"; }
EXPORT int nvrtcCreateProgram(void** program, const char*, const char*, int, const char* const*,
                              const char* const*) {
  *program = program;
  return 0;
}
EXPORT int nvrtcDestroyProgram(void** program) {
  *program = nullptr;
  return 0;
}
EXPORT int nvrtcCompileProgram(void*, int, const char* const*) {
  const char* result = std::getenv("FAKE_NVRTC_RESULT");
  return result ? std::atoi(result) : 0;
}
EXPORT int nvrtcGetProgramLogSize(void*, size_t* size) {
  *size = sizeof(kLog);
  return 0;
}
EXPORT int nvrtcGetProgramLog(void*, char* log) {
  std::memcpy(log, kLog, sizeof(kLog));
  return 0;
}
EXPORT int nvrtcGetPTXSize(void*, size_t* size) {
  *size = sizeof(kPtx);
  return 0;
}
EXPORT int nvrtcGetPTX(void*, char* ptx) {
  std::memcpy(ptx, kPtx, sizeof(kPtx));
  return 0;
}
EXPORT int nvrtcGetCUBINSize(void*, size_t* size) {
  *size = 0;
  return 0;
}
EXPORT int nvrtcGetCUBIN(void*, char*) { return 0; }
