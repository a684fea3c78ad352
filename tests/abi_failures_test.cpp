// SPDX-License-Identifier: Apache-2.0
// The C interface when the driver refuses: each call of each kind that a function makes fails once.
// It must be a status with a text, the context that was current must be so again, no memory of the
// device may be lost, and the same call must succeed next time.
#include <doctest/doctest.h>

#include <functional>

#include "generator/problem.h"
#include "tests/abi_product.h"
#include "tests/emulated_gpu.h"
#include "tests/temporary_folder.h"

using namespace nvfp4;

namespace {

constexpr const char* kOperations[] = {"context", "alloc", "copy",   "memset", "load",
                                       "launch",  "sync",  "stream", "capture"};

/// One function of the interface with good arguments: its status, and what must hold afterwards.
struct Subject {
  std::function<nvfp4_status()> run;
  std::function<void()> undo = [] {};  ///< after a success
};

struct Bench {
  EmulatedGpu emulated;  // first: its reset is the last that happens
  AbiContext context;
  Gpu gpu = context.gpu;

  CUcontext current() const {
    CUcontext found = nullptr;
    gpu.driver().ctx_get_current(&found);
    return found;
  }

  size_t free_bytes() const {
    const ContextScope scope(gpu);
    size_t free = 0, total = 0;
    gpu.check(gpu.driver().mem_get_info(&free, &total), "cuMemGetInfo");
    return free;
  }

  /// How many of an operation's calls a success takes.
  int64_t calls_of(const Subject& subject, const char* operation) const {
    const int64_t before = emulated.calls(operation);
    REQUIRE(said(subject.run()) == "NVFP4_OK");
    const int64_t after = emulated.calls(operation);
    subject.undo();
    return after - before;
  }

  /// Fails each call in turn. `before`: the context that is current when the function is called.
  void fail_each(const Subject& subject, CUcontext before) const {
    gpu.driver().ctx_set_current(before);
    int failed_calls = 0;
    for (const char* const operation : kOperations) {
      int64_t calls = calls_of(subject, operation);
      // The last one makes the caller's context current again: a driver that refuses that cannot
      // be helped.
      if (std::string(operation) == "context") calls -= before == nullptr ? 1 : 0;
      for (int64_t call = 1; call <= calls; ++call) {
        CAPTURE(operation);
        CAPTURE(call);
        const size_t free = free_bytes();
        const bool memory = std::string(operation) == "alloc";
        const std::string rule =
            std::string(operation) + ":" + std::to_string(call) + (memory ? "=2" : "=1");
        emulated.inject(rule.c_str());
        ++failed_calls;
        const nvfp4_status status = subject.run();
        CHECK(current() == before);
        if (status == NVFP4_OK) {
          subject.undo();  // it had another way, e.g. to compile again
        } else {
          CHECK(said(status).starts_with(memory ? "NVFP4_OUT_OF_MEMORY: cu"
                                                : "NVFP4_DRIVER_ERROR: "));
        }
        REQUIRE(said(subject.run()) == "NVFP4_OK");
        subject.undo();
        CHECK(current() == before);
        CHECK(free_bytes() == free);
      }
    }
    CHECK(failed_calls > 0);
  }

  void fail_each(const Subject& subject) const {
    fail_each(subject, gpu.context());
    fail_each(subject, nullptr);
    // And once for good.
    gpu.driver().ctx_set_current(gpu.context());
    emulated.inject("launch:1=700,memset:1=700,load:1=700,copy:1=700");
    CHECK(subject.run() == NVFP4_DEVICE_LOST);
    CHECK(said(subject.run()) ==
          "NVFP4_DEVICE_LOST: an earlier call found the device's context lost");
    CHECK(current() == gpu.context());
  }
};

/// A small checkpoint matrix on the device, what it packs to, and what it is as numbers.
struct Weights {
  static constexpr int64_t kN = 64, kK = 64;
  explicit Weights(const Gpu& gpu)
      : codes(gpu, kN * kK / 2),
        scales(gpu, kN * kK / 16),
        packed(gpu, packed_bytes(kN, kK)),
        global_scales(gpu, 4),
        numbers(gpu, kN * kK * 2) {
    codes.fill(std::byte{0x21});
    scales.fill(std::byte{0x38});
    packed.fill(std::byte{0});
    global_scales.fill(std::byte{0});
  }

  nvfp4_part part() const {
    nvfp4_part part{};
    part.size = sizeof part;
    part.n = kN;
    part.codes = codes.as();
    part.scales = scales.as();
    part.global_scale = 1;
    return part;
  }

  nvfp4_dequantize_args dequantize() const {
    nvfp4_dequantize_args args{};
    args.size = sizeof args;
    args.n = kN;
    args.k = kK;
    args.packed = packed.as();
    args.global_scales = global_scales.as<float>();
    args.out = numbers.as();
    return args;
  }

  DeviceBuffer codes, scales, packed, global_scales, numbers;
};

}  // namespace

TEST_SUITE("abi_failures") {
  TEST_CASE("prepare") {
    const Bench bench;
    nvfp4_gemm gemm = 0;
    const nvfp4_problem problem = problem_of(64, 64);
    bench.fail_each({[&] { return nvfp4_prepare(bench.context.handle, &problem, 1, 1, &gemm); },
                     [&] { REQUIRE(nvfp4_gemm_destroy(gemm) == NVFP4_OK); }});
    CHECK(gemm == 0);
  }

  TEST_CASE("a kernel that does not load twice is a driver's error, and loads the third time") {
    const Bench bench;
    const nvfp4_problem problem = problem_of(64, 64);
    nvfp4_gemm gemm = 7;
    bench.emulated.inject("load:1=1,load:2=1");
    CHECK(said(nvfp4_prepare(bench.context.handle, &problem, 1, 1, &gemm))
              .starts_with("NVFP4_DRIVER_ERROR: cuModuleLoadData"));
    CHECK(gemm == 0);
    REQUIRE(said(nvfp4_prepare(bench.context.handle, &problem, 1, 1, &gemm)) == "NVFP4_OK");
    CHECK(nvfp4_gemm_destroy(gemm) == NVFP4_OK);
  }

  TEST_CASE("workspace_init and launch") {
    for (const bool init : {true, false}) {
      const Bench bench;
      const Operands operands(bench.gpu);
      const PreparedGemm gemm(bench.context);
      const DeviceBuffer workspace(bench.gpu, 512);
      const nvfp4_launch_args args = gemm.with_workspace(operands.args());
      const Stream stream(bench.gpu);
      bench.fail_each({[&] {
        return init ? nvfp4_workspace_init(bench.context.handle, workspace.as(), 512, stream.get())
                    : nvfp4_launch(gemm.handle, &args, stream.get());
      }});
    }
  }

  TEST_CASE("pack_on_device, unpack_on_device and dequantize") {
    for (const int which : {0, 1, 2}) {
      CAPTURE(which);
      const Bench bench;
      const Weights weights(bench.gpu);
      const nvfp4_part part = weights.part();
      const nvfp4_dequantize_args args = weights.dequantize();
      const nvfp4_context context = bench.context.handle;
      bench.fail_each({[&] {
        if (which == 0) {
          return nvfp4_pack_on_device(context, &part, 1, Weights::kK, weights.packed.as(),
                                      weights.packed.size(), weights.global_scales.as<float>(), 1,
                                      nullptr);
        }
        if (which == 1) {
          return nvfp4_unpack_on_device(context, weights.packed.as(), weights.packed.size(),
                                        Weights::kN, Weights::kK, 0, Weights::kN,
                                        weights.codes.as(), weights.scales.as(), nullptr);
        }
        return nvfp4_dequantize(context, &args, nullptr);
      }});
    }
  }

  TEST_CASE("the weights' own kernels fail to load, and load when asked again") {
    const EmulatedGpu emulated;
    const Weights weights(emulated.gpu);
    const nvfp4_dequantize_args args = weights.dequantize();
    for (const char* rule : {"load:1=1", "load:1=2"}) {
      const AbiContext context;
      emulated.inject(rule);
      CHECK(nvfp4_dequantize(context.handle, &args, nullptr) ==
            (rule[7] == '1' ? NVFP4_DRIVER_ERROR : NVFP4_OUT_OF_MEMORY));
      CHECK(said(nvfp4_dequantize(context.handle, &args, nullptr)) == "NVFP4_OK");
    }
  }

  TEST_CASE("a kernel that finds no memory is not compiled again for it") {
    const EmulatedGpu emulated;
    const AbiContext context;
    nvfp4_gemm gemm = 0;
    const nvfp4_problem problem = problem_of(64, 64);
    emulated.inject("load:1=2");
    const int64_t before = emulated.calls("load");
    CHECK(nvfp4_prepare(context.handle, &problem, 1, 1, &gemm) == NVFP4_OUT_OF_MEMORY);
    CHECK(emulated.calls("load") == before + 1);
    CHECK(gemm == 0);
  }

  TEST_CASE("context_create lets go of the device, and the context that was current is so again") {
    const EmulatedGpu emulated;
    const Driver& driver = emulated.driver();
    const ScopedEnvironment library("NVFP4_LIBCUDA", driver.library().c_str());
    nvfp4_context_options options{.size = sizeof options};
    options.device = "emulated:a10g";  // nobody else's
    options.database = "";
    const int ordinal =
        emulated.call<decltype(&nvfp4_emulator_device)>("nvfp4_emulator_device")("a10g");
    for (const CUcontext before : {emulated.gpu.context(), CUcontext{nullptr}}) {
      driver.ctx_set_current(before);
      for (const char* rule : {"init:1=100", "init:1=3", "context:1=2", "context:1=700",
                               "context:2=1", "context:2=201"}) {
        CAPTURE(rule);
        nvfp4_context handle = 7;
        emulated.inject(rule);
        const nvfp4_status status = nvfp4_context_create(&options, &handle);
        CHECK(status != NVFP4_OK);
        CHECK(status != NVFP4_INTERNAL);
        CHECK(*nvfp4_last_error() != '\0');
        CHECK(handle == 0);
        CUcontext current = nullptr;
        driver.ctx_get_current(&current);
        CHECK(current == before);
        CHECK(driver.device_primary_ctx_release(ordinal) == CUDA_ERROR_INVALID_CONTEXT);
        emulated.reset();
        driver.ctx_set_current(before);
      }
    }
    driver.ctx_set_current(emulated.gpu.context());
  }

  TEST_CASE("a context that its owner destroyed is a lost device, and handles can be given back") {
    const EmulatedGpu emulated;
    const ScopedEnvironment library("NVFP4_LIBCUDA", emulated.driver().library().c_str());
    nvfp4_context context = 0;
    nvfp4_gemm gemm = 0;
    const nvfp4_problem problem = problem_of(64, 64);
    nvfp4_context_options options{.size = sizeof options};
    options.database = "";
    {
      const Gpu owner = open_device("emulated:l40s").gpu;
      REQUIRE(said(nvfp4_context_create(&options, &context)) == "NVFP4_OK");
      nvfp4_device_info info{.size = sizeof info};
      REQUIRE(nvfp4_device(context, &info) == NVFP4_OK);
      REQUIRE(std::string(info.name).find("L40S") != std::string::npos);
      REQUIRE(nvfp4_prepare(context, &problem, 1, 1, &gemm) == NVFP4_OK);
    }
    emulated.driver().ctx_set_current(emulated.gpu.context());
    CHECK(nvfp4_workspace_init(context, reinterpret_cast<void*>(256), 256, nullptr) ==
          NVFP4_DEVICE_LOST);
    nvfp4_gemm another = 0;
    CHECK(said(nvfp4_prepare(context, &problem, 1, 1, &another)) ==
          "NVFP4_DEVICE_LOST: an earlier call found the device's context lost");
    CUcontext current = nullptr;
    emulated.driver().ctx_get_current(&current);
    CHECK(current == emulated.gpu.context());
    CHECK(nvfp4_gemm_destroy(gemm) == NVFP4_OK);
    CHECK(nvfp4_context_destroy(context) == NVFP4_OK);
    // Others are none the worse.
    const AbiContext other;
    CHECK(nvfp4_prepare(other.handle, &problem, 1, 1, &gemm) == NVFP4_OK);
    CHECK(nvfp4_gemm_destroy(gemm) == NVFP4_OK);
  }

  TEST_CASE("a driver that is too old is refused with both versions") {
    const ScopedEnvironment library("NVFP4_LIBCUDA", FAKE_OLD_DRIVER);
    nvfp4_context context = 0;
    CHECK(nvfp4_context_create(nullptr, &context) == NVFP4_NO_DEVICE);
    const std::string text = nvfp4_last_error();
    CHECK(text.find("supports CUDA 11.8, 12.0 is needed") != std::string::npos);
    CHECK(text.find("install NVIDIA driver 525 or newer") != std::string::npos);
  }
}
