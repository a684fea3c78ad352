// SPDX-License-Identifier: Apache-2.0
// A program that is not linked with the library but opens and closes it, as a plugin's host does.
// Arguments: the library, and whether its handles are "open" or "closed" when it is closed.
// check_silent.cmake wants exit status 0 and not a byte of output.
#include <dlfcn.h>
#include <sys/wait.h>

#include <string>
#include <thread>

#include "tests/abi_session.h"

using namespace nvfp4;

namespace {

template <class Function>
void bind(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  NVFP4_EXPECT(function != nullptr);
}

SessionCalls calls_of(void* library) {
  SessionCalls calls;
  bind(library, "nvfp4_context_create", calls.context_create);
  bind(library, "nvfp4_prepare", calls.prepare);
  bind(library, "nvfp4_workspace_size", calls.workspace_size);
  bind(library, "nvfp4_workspace_init", calls.workspace_init);
  bind(library, "nvfp4_launch", calls.launch);
  bind(library, "nvfp4_gemm_destroy", calls.gemm_destroy);
  bind(library, "nvfp4_context_destroy", calls.context_destroy);
  return calls;
}

Session* session = nullptr;

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const bool open = std::string(arguments[2]) == "open";
  nvfp4_context oldest = 0;
  for (int round = 0; round < 3; ++round) {
    void* const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    NVFP4_EXPECT(library != nullptr);
    const SessionCalls calls = calls_of(library);
    Session* const previous = session;
    session = new Session(calls);
    NVFP4_EXPECT(session->launch() == NVFP4_OK);
    // A number of before the library was closed is never a new handle's.
    NVFP4_EXPECT(session->context != oldest);
    if (round == 0) oldest = session->context;
    // This thread's last error goes with it, after the library was closed.
    std::thread([&] {
      NVFP4_EXPECT(calls.context_destroy(0) == NVFP4_INVALID_HANDLE);
      if (!open) session->close();
      if (open && previous) NVFP4_EXPECT(previous->launch() == NVFP4_OK);
      NVFP4_EXPECT(dlclose(library) == 0);
    }).join();
    delete previous;
  }
  // The mark that a fork leaves survives too.
  const pid_t child = fork();
  if (child == 0) {
    void* const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    nvfp4_context context = 0;
    NVFP4_EXPECT(calls_of(library).context_create(nullptr, &context) == NVFP4_FORKED);
    return 0;
  }
  int status = 0;
  NVFP4_EXPECT(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}
