// SPDX-License-Identifier: Apache-2.0
// The NVRTC that COUNTING_NVRTC_REAL names, with a line in the file COUNTING_NVRTC_LOG for each
// program that includes a template: the digest of its source. One write a line, so that many
// processes may share the file.
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

void* real(const char* name) {
  static void* const library = dlopen(std::getenv("COUNTING_NVRTC_REAL"), RTLD_NOW | RTLD_LOCAL);
  void* const symbol = library ? dlsym(library, name) : nullptr;
  if (symbol == nullptr) std::abort();
  return symbol;
}

template <class... Arguments>
int forward(const char* name, Arguments... arguments) {
  return reinterpret_cast<int (*)(Arguments...)>(real(name))(arguments...);
}

void count(std::string_view source) {
  if (source.find("#include") == source.npos) return;
  char line[32];
  const int size = std::snprintf(line, sizeof line, "%zx\n", std::hash<std::string_view>()(source));
  const int log = open(std::getenv("COUNTING_NVRTC_LOG"), O_WRONLY | O_APPEND | O_CREAT, 0600);
  if (log < 0 || write(log, line, static_cast<size_t>(size)) != size) std::abort();
  close(log);
}

}  // namespace

EXPORT int nvrtcVersion(int* major, int* minor) { return forward("nvrtcVersion", major, minor); }
EXPORT const char* nvrtcGetErrorString(int status) {
  return reinterpret_cast<const char* (*)(int)>(real("nvrtcGetErrorString"))(status);
}
EXPORT int nvrtcCreateProgram(void** program, const char* source, const char* name, int headers,
                              const char* const* texts, const char* const* names) {
  count(source);
  return forward("nvrtcCreateProgram", program, source, name, headers, texts, names);
}
EXPORT int nvrtcDestroyProgram(void** program) { return forward("nvrtcDestroyProgram", program); }
EXPORT int nvrtcCompileProgram(void* program, int options, const char* const* texts) {
  return forward("nvrtcCompileProgram", program, options, texts);
}
EXPORT int nvrtcGetProgramLogSize(void* program, size_t* size) {
  return forward("nvrtcGetProgramLogSize", program, size);
}
EXPORT int nvrtcGetProgramLog(void* program, char* log) {
  return forward("nvrtcGetProgramLog", program, log);
}
EXPORT int nvrtcGetPTXSize(void* program, size_t* size) {
  return forward("nvrtcGetPTXSize", program, size);
}
EXPORT int nvrtcGetPTX(void* program, char* text) { return forward("nvrtcGetPTX", program, text); }
EXPORT int nvrtcGetCUBINSize(void* program, size_t* size) {
  return forward("nvrtcGetCUBINSize", program, size);
}
EXPORT int nvrtcGetCUBIN(void* program, char* image) {
  return forward("nvrtcGetCUBIN", program, image);
}
