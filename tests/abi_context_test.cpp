// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "runtime/nvfp4_gemm.h"
#include "tests/abi_fixture.h"
#include "tests/emulated_gpu.h"
#include "tests/temporary_folder.h"

using namespace nvfp4;

TEST_SUITE("abi_context") {
  TEST_CASE("versions and names of statuses") {
    CHECK(nvfp4_abi_version() == NVFP4_ABI_VERSION);
    CHECK(std::string(nvfp4_version()) == "0.1.0");
    CHECK(std::string(nvfp4_status_name(NVFP4_FORKED)) == "NVFP4_FORKED");
    CHECK(std::string(nvfp4_status_name(static_cast<nvfp4_status>(99))) == "unknown status");
  }

  TEST_CASE("a context says what device it is on") {
    const AbiContext context("l40s");
    nvfp4_device_info info{.size = sizeof info};
    REQUIRE(nvfp4_device(context.handle, &info) == NVFP4_OK);
    CHECK(info.size == sizeof info);
    CHECK(std::string(info.name).find("L40S") != std::string::npos);
    CHECK(info.compute_major == 8);
    CHECK(info.compute_minor == 9);
    CHECK(info.sm_count == 142);
    CHECK(info.emulated == 1);
    CHECK(info.memory_bytes > int64_t{40} << 30);
  }

  TEST_CASE("a handle that was destroyed, or never was one, is a status") {
    nvfp4_context handle = 0;
    {
      const AbiContext context;
      handle = context.handle;
    }
    nvfp4_device_info info{.size = sizeof info};
    CHECK(said(nvfp4_device(handle, &info)) ==
          "NVFP4_INVALID_HANDLE: " + std::to_string(handle) + " is no context");
    CHECK(nvfp4_context_destroy(handle) == NVFP4_INVALID_HANDLE);
    CHECK(nvfp4_context_destroy(0) == NVFP4_INVALID_HANDLE);
    CHECK(nvfp4_device(~uint64_t{0}, &info) == NVFP4_INVALID_HANDLE);
  }

  TEST_CASE("options that mean nothing are refused by name") {
    nvfp4_context handle = 7;
    CHECK(said(nvfp4_context_create(nullptr, nullptr)) ==
          "NVFP4_INVALID_ARGUMENT: context is null");
    nvfp4_context_options options{};
    CHECK(said(nvfp4_context_create(&options, &handle)) ==
          "NVFP4_INVALID_ARGUMENT: options->size is 0, at least 48 is needed");
    CHECK(handle == 0);
    options.size = sizeof options;
    options.device = "emulated:h1000";
    CHECK(said(nvfp4_context_create(&options, &handle))
              .starts_with("NVFP4_NO_DEVICE: unknown device emulated:h1000"));
    options.device = "auto";
    CHECK(nvfp4_context_create(&options, &handle) == NVFP4_INVALID_ARGUMENT);
  }

  TEST_CASE("a struct of a later header is taken if what it adds is zero, else refused") {
    struct {
      nvfp4_device_info info;
      uint64_t added;
    } later{};
    const AbiContext context;
    later.info.size = sizeof later;
    CHECK(nvfp4_device(context.handle, &later.info) == NVFP4_OK);
    CHECK(later.info.size == sizeof later);

    struct {
      nvfp4_problem problem;
      uint64_t added;
    } asked{problem_of(64, 64), 0};
    asked.problem.size = sizeof asked;
    nvfp4_selection selection{.size = sizeof selection};
    CHECK(nvfp4_lookup(context.handle, &asked.problem, 1, &selection) == NVFP4_OK);
    asked.added = 1;
    CHECK(nvfp4_lookup(context.handle, &asked.problem, 1, &selection) == NVFP4_INVALID_ARGUMENT);
    asked.problem.size = sizeof(nvfp4_problem) - 1;
    CHECK(nvfp4_lookup(context.handle, &asked.problem, 1, &selection) == NVFP4_INVALID_ARGUMENT);
  }

  TEST_CASE("no driver and no GPU are statuses in little time") {
    const TemporaryFolder folder;
    const std::string missing = folder / "libcuda.so.1";
    const ScopedEnvironment no_driver("NVFP4_LIBCUDA", missing.c_str());
    nvfp4_context handle = 0;
    CHECK(nvfp4_context_create(nullptr, &handle) == NVFP4_NO_DEVICE);
    CHECK(std::string(nvfp4_last_error()).find(missing) != std::string::npos);
  }

  TEST_CASE("no NVRTC is a status of its own") {
    const TemporaryFolder folder;
    const std::string missing = folder / "libnvrtc.so";
    const ScopedEnvironment no_compiler("NVFP4_NVRTC", missing.c_str());
    nvfp4_context_options options{.size = sizeof options};
    options.device = "emulated:h100";
    nvfp4_context handle = 0;
    CHECK(nvfp4_context_create(&options, &handle) == NVFP4_NO_COMPILER);
  }

  TEST_CASE("the context that is current is used, and is current afterwards") {
    const Gpu gpu = open_device("emulated:h100").gpu;
    const ScopedEnvironment driver("NVFP4_LIBCUDA", gpu.driver().library().c_str());
    const auto current = [&] {
      CUcontext context = nullptr;
      gpu.driver().ctx_get_current(&context);
      return context;
    };
    for (const CUcontext before : {gpu.context(), CUcontext{nullptr}}) {
      gpu.driver().ctx_set_current(before);
      nvfp4_context handle = 0;
      REQUIRE(nvfp4_context_create(nullptr, &handle) == NVFP4_OK);
      CHECK(current() == before);
      nvfp4_gemm gemm = 0;
      const nvfp4_problem problem = problem_of(64, 64);
      CHECK(nvfp4_prepare(handle, &problem, 1, 1, &gemm) == NVFP4_OK);
      CHECK(current() == before);
      CHECK(nvfp4_gemm_destroy(gemm) == NVFP4_OK);
      CHECK(nvfp4_context_destroy(handle) == NVFP4_OK);
      CHECK(current() == before);
    }
    gpu.driver().ctx_set_current(gpu.context());
  }

  TEST_CASE("lookup says what runs, and says it again without asking the model") {
    const AbiContext context;
    const nvfp4_problem problem = problem_of(4096, 4096, NVFP4_PDL);
    nvfp4_selection first{.size = sizeof first}, again{.size = sizeof again};
    REQUIRE(nvfp4_lookup(context.handle, &problem, 16, &first) == NVFP4_OK);
    CHECK(first.match == NVFP4_MATCH_DEFAULT);
    CHECK(first.measured == 0);
    CHECK(first.expected_us > 0);
    CHECK(std::string(first.config).starts_with("family="));
    REQUIRE(nvfp4_lookup(context.handle, &problem, 16, &again) == NVFP4_OK);
    CHECK(again.config == first.config);  // the same address
    CHECK(said(nvfp4_lookup(context.handle, &problem, 0, &first)) ==
          "NVFP4_INVALID_ARGUMENT: M = 0 is below 1");
    nvfp4_problem bad = problem;
    bad.act = NVFP4_FP32;
    CHECK(said(nvfp4_lookup(context.handle, &bad, 1, &first)) ==
          "NVFP4_INVALID_ARGUMENT: act = 2 is neither NVFP4_BF16 nor NVFP4_FP16");
    bad = problem;
    bad.flags = 6;
    CHECK(said(nvfp4_lookup(context.handle, &bad, 1, &first)) ==
          "NVFP4_INVALID_ARGUMENT: flags = 0x6 has bits that mean nothing here");
  }

  TEST_CASE("what could not be used is told to the log callback") {
    const TemporaryFolder folder;
    const std::string path = folder / "user.db";
    std::ofstream(path) << "no database";
    const AbiContext context("h100", path.c_str());
    REQUIRE(context.log.size() == 1);
    CHECK(context.log[0].find(path) != std::string::npos);
  }

  TEST_CASE("64 threads that meet a shape for the first time get one answer") {
    const AbiContext context;
    std::vector<const char*> configs(64);
    {
      std::vector<std::jthread> threads;
      for (const char*& config : configs) {
        threads.emplace_back([&] {
          const nvfp4_problem problem = problem_of(2048, 1024);
          nvfp4_selection selection{.size = sizeof selection};
          if (nvfp4_lookup(context.handle, &problem, 3, &selection) == NVFP4_OK) {
            config = selection.config;
          }
        });
      }
    }
    for (const char* config : configs) CHECK(config == configs[0]);
    CHECK(configs[0] != nullptr);
  }

  TEST_CASE("in a child of fork every call says so at once, and the parent goes on") {
    const AbiContext context;
    const pid_t child = fork();
    if (child == 0) {
      nvfp4_device_info info{.size = sizeof info};
      nvfp4_context another = 0;
      const bool refused = nvfp4_device(context.handle, &info) == NVFP4_FORKED &&
                           nvfp4_context_destroy(context.handle) == NVFP4_FORKED &&
                           nvfp4_context_create(nullptr, &another) == NVFP4_FORKED;
      _exit(refused ? 0 : 1);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    nvfp4_device_info info{.size = sizeof info};
    CHECK(nvfp4_device(context.handle, &info) == NVFP4_OK);
  }

  TEST_CASE("the last error is the thread's own") {
    CHECK(nvfp4_context_destroy(12345) == NVFP4_INVALID_HANDLE);
    std::string other = "unset";
    std::jthread([&] { other = nvfp4_last_error(); }).join();
    CHECK(other.empty());
    CHECK(std::string(nvfp4_last_error()) == "12345 is no context");
  }
}
