// SPDX-License-Identifier: Apache-2.0
// A program that uses the library and then ends in the way its argument names. check_silent.cmake
// wants exit status 0 and not a byte of output of each.
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

#include "runtime/emulator/emulator.h"
#include "tests/abi_session.h"
#include "tests/temporary_folder.h"

using namespace nvfp4;

namespace {

constexpr SessionCalls kLinked = {&nvfp4_context_create, &nvfp4_prepare, &nvfp4_workspace_size,
                                  &nvfp4_workspace_init, &nvfp4_launch,  &nvfp4_gemm_destroy,
                                  &nvfp4_context_destroy};

// Open to the end of the process: threads may still use it then.
Session* session = nullptr;

[[noreturn]] void launch_for_ever() {
  while (true) NVFP4_EXPECT(session->launch() == NVFP4_OK);
}

/// Returns when a thread of its own, which goes on for ever, has launched a few times.
void launch_beside() {
  static std::atomic<int> launched = 0;
  std::thread([] {
    while (true) {
      NVFP4_EXPECT(session->launch() == NVFP4_OK);
      ++launched;
    }
  }).detach();
  while (launched < 3) std::this_thread::yield();
}

/// Made before main and destroyed after the library's own statics would be.
struct LastCaller {
  ~LastCaller() {
    if (!active) return;
    NVFP4_EXPECT(session->launch() == NVFP4_OK);
    nvfp4_selection selection{.size = sizeof selection};
    nvfp4_problem problem{};
    problem.size = sizeof problem;
    problem.n = problem.k = 4096;
    NVFP4_EXPECT(nvfp4_lookup(session->context, &problem, 7, &selection) == NVFP4_OK);
    // A kernel that is loaded is there for all; nothing can be compiled any more.
    nvfp4_gemm gemm = 0;
    problem.n = problem.k = 64;
    NVFP4_EXPECT(nvfp4_prepare(session->context, &problem, 1, 1, &gemm) == NVFP4_OK);
    NVFP4_EXPECT(nvfp4_gemm_destroy(gemm) == NVFP4_OK);
    nvfp4_context_options options{.size = sizeof options};
    options.device = "emulated:a100";
    options.database = "";
    nvfp4_context another = 0;
    NVFP4_EXPECT(nvfp4_context_create(&options, &another) == NVFP4_NO_COMPILER);
    session->close();
    NVFP4_EXPECT(nvfp4_context_destroy(session->context) == NVFP4_INVALID_HANDLE);
    NVFP4_EXPECT(*nvfp4_last_error() != '\0');
  }
  bool active = false;
} last_caller;

/// In a child: it can do nothing, and ends by exit() as a program would.
[[noreturn]] void end_child() {
  NVFP4_EXPECT(session->launch() == NVFP4_FORKED);
  NVFP4_EXPECT(nvfp4_context_destroy(session->context) == NVFP4_FORKED);
  std::exit(0);
}

void fork_and_wait() {
  const pid_t child = fork();
  if (child == 0) end_child();
  int status = 0;
  NVFP4_EXPECT(waitpid(child, &status, 0) == child);
  NVFP4_EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  NVFP4_EXPECT(session->launch() == NVFP4_OK);
}

/// A callback that throws is its owner's mistake; it must not end the process.
void throw_from_log() {
  const TemporaryFolder folder;
  const std::string database = folder / "user.db";
  std::ofstream(database) << "no database";
  nvfp4_context_options options{.size = sizeof options};
  options.device = "emulated:a100";
  options.database = database.c_str();
  options.log = [](void*, const char*) { throw std::runtime_error("of the callback"); };
  nvfp4_context context = 0;
  NVFP4_EXPECT(nvfp4_context_create(&options, &context) == NVFP4_INTERNAL);
  NVFP4_EXPECT(context == 0 && std::string(nvfp4_last_error()) == "of the callback");
}

/// Every status but those of a fork and of a callback, which have modes of their own.
void meet_every_status() {
  const auto inject = reinterpret_cast<decltype(&nvfp4_emulator_inject)>(
      session->gpu.driver().symbol("nvfp4_emulator_inject"));
  NVFP4_EXPECT(session->calls.launch(session->gemm, nullptr, nullptr) == NVFP4_INVALID_ARGUMENT);
  NVFP4_EXPECT(nvfp4_gemm_destroy(0) == NVFP4_INVALID_HANDLE);
  const float weights[16] = {HUGE_VALF};
  unsigned char codes[8] = {}, scales[1] = {};
  float global_scale = 0;
  NVFP4_EXPECT(nvfp4_quantize(weights, 1, 16, 0, codes, scales, &global_scale) == NVFP4_BAD_DATA);

  nvfp4_context_options options{.size = sizeof options};
  nvfp4_context context = 0;
  options.database = options.cache = "";
  options.device = "emulated:none";
  NVFP4_EXPECT(nvfp4_context_create(&options, &context) == NVFP4_NO_DEVICE);
  options.device = "emulated:a100";
  {
    const ScopedEnvironment compiler("NVFP4_NVRTC", "/nonexistent/libnvrtc.so");
    NVFP4_EXPECT(nvfp4_context_create(&options, &context) == NVFP4_NO_COMPILER);
  }
  {
    const ScopedEnvironment compiler("NVFP4_NVRTC", FAKE_NVRTC);
    const ScopedEnvironment version("FAKE_NVRTC_VERSION", "12.8");
    NVFP4_EXPECT(nvfp4_context_create(&options, &context) == NVFP4_OK);
    nvfp4_problem problem{};
    problem.size = sizeof problem;
    problem.n = problem.k = 64;
    nvfp4_gemm gemm = 0;
    NVFP4_EXPECT(nvfp4_prepare(context, &problem, 1, 1, &gemm) == NVFP4_COMPILE_ERROR);
    NVFP4_EXPECT(nvfp4_context_destroy(context) == NVFP4_OK);
  }
  NVFP4_EXPECT(inject("launch:1=2,launch:2=1,launch:3=700") == 0);
  NVFP4_EXPECT(session->launch() == NVFP4_OUT_OF_MEMORY);
  NVFP4_EXPECT(session->launch() == NVFP4_DRIVER_ERROR);
  NVFP4_EXPECT(session->launch() == NVFP4_DEVICE_LOST);
  NVFP4_EXPECT(session->launch() == NVFP4_DEVICE_LOST);
}

int end(const std::string& mode) {
  if (mode == "return") return 0;
  if (mode == "return_closed") {
    session->close();
    delete session;
    return 0;
  }
  if (mode == "return_beside_launches") {
    launch_beside();
    return 0;
  }
  if (mode == "return_beside_compilation") {
    static std::atomic<bool> started = false;
    std::thread([] {
      nvfp4_context_options options{.size = sizeof options};
      options.device = "emulated:h100";
      options.database = options.cache = "";
      while (true) {
        nvfp4_context context = 0;
        nvfp4_context_create(&options, &context);
        nvfp4_problem problem{};
        problem.size = sizeof problem;
        problem.n = problem.k = 64;
        nvfp4_gemm gemm = 0;
        started = true;
        nvfp4_prepare(context, &problem, 1, 1, &gemm);
        nvfp4_gemm_destroy(gemm);
        nvfp4_context_destroy(context);
      }
    }).detach();
    while (!started) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return 0;
  }
  if (mode == "exit_of_thread") {
    std::thread([] {
      NVFP4_EXPECT(session->launch() == NVFP4_OK);
      std::exit(0);
    }).detach();
    launch_for_ever();
  }
  if (mode == "quick_exit") {
    launch_beside();
    std::quick_exit(0);
  }
  if (mode == "immediate_exit") {
    launch_beside();
    _exit(0);
  }
  if (mode == "static_destructor") {
    last_caller.active = true;
    return 0;
  }
  if (mode == "threads_end") {
    launch_beside();
    for (int i = 0; i < 50; ++i) {
      std::thread([] { NVFP4_EXPECT(session->launch() == NVFP4_OK); }).join();
    }
    return 0;
  }
  if (mode == "fork") {
    fork_and_wait();
    return 0;
  }
  if (mode == "fork_beside_launches") {
    launch_beside();
    for (int i = 0; i < 5; ++i) fork_and_wait();
    return 0;
  }
  if (mode == "throwing_log") {
    throw_from_log();
    return 0;
  }
  if (mode == "every_status") {
    meet_every_status();
    return 0;
  }
  return 2;
}

}  // namespace

int main(int count, char** arguments) {
  session = new Session(kLinked);
  NVFP4_EXPECT(session->launch() == NVFP4_OK);
  return count == 2 ? end(arguments[1]) : 2;
}
