// SPDX-License-Identifier: Apache-2.0
// What the library costs the host: a hot lookup, a hot launch, and the bare driver call that a
// launch ends in. `library_benchmark` runs on GPU 0; without one, only what needs no GPU.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <stdexcept>

#include "nvfp4/nvfp4.h"
#include "runtime/nvfp4_gemm.h"

namespace {

using namespace nvfp4;

constexpr int64_t kN = 1024, kK = 1024;
constexpr int kBatch = 512;  ///< launches between two waits: fewer than a stream's queue holds

void require(nvfp4_status status) {
  if (status != NVFP4_OK) throw std::runtime_error(nvfp4_last_error());
}

bool have_gpu() {
  static const bool have = [] {
    try {
      open_device("0");
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }();
  return have;
}

/// A context on the GPU, or on an emulated one for what never launches.
nvfp4_context context() {
  static const nvfp4_context handle = [] {
    nvfp4_context_options options{.size = sizeof options};
    options.device = have_gpu() ? "0" : "emulated:h100";
    options.database = "";
    nvfp4_context created = 0;
    require(nvfp4_context_create(&options, &created));
    return created;
  }();
  return handle;
}

nvfp4_problem problem() {
  nvfp4_problem problem{.size = sizeof problem};
  problem.n = kN;
  problem.k = kK;
  return problem;
}

void lookup(benchmark::State& state) {
  const nvfp4_problem asked = problem();
  nvfp4_selection selection{.size = sizeof selection};
  require(nvfp4_lookup(context(), &asked, 16, &selection));
  for (auto _ : state) {
    nvfp4_lookup(context(), &asked, 16, &selection);
    benchmark::DoNotOptimize(selection);
  }
}
BENCHMARK(lookup)->Threads(1)->Threads(4);

/// Times batches of `enqueue`; waiting for them is not counted.
template <class Enqueue>
void time_launches(benchmark::State& state, const Stream& stream, const Enqueue& enqueue) {
  while (state.KeepRunningBatch(kBatch)) {
    for (int i = 0; i < kBatch; ++i) enqueue();
    state.PauseTiming();
    stream.synchronize();
    state.ResumeTiming();
  }
}

/// Where M = 64 runs the wgmma family, both kinds of launch encode a tensor map too.
struct Operands {
  explicit Operands(const Gpu& gpu)
      : weights(gpu, packed_bytes(kN, kK)),
        activations(gpu, 64 * kK * 2),
        out(gpu, 64 * kN * 2),
        scales(gpu, kN / 64 * 4) {
    for (DeviceBuffer* buffer : {&weights, &activations, &scales}) buffer->fill(std::byte{0});
  }
  DeviceBuffer weights, activations, out, scales;
};

void launch(benchmark::State& state) {
  if (!have_gpu()) return state.SkipWithError("needs a GPU");
  const Gpu gpu = open_device("0").gpu;
  const Operands operands(gpu);
  const Stream stream(gpu);
  const nvfp4_problem asked = problem();
  nvfp4_gemm gemm = 0;
  require(nvfp4_prepare(context(), &asked, 1, 64, &gemm));
  size_t bytes = 0;
  require(nvfp4_workspace_size(gemm, &bytes));
  const DeviceBuffer workspace(gpu, bytes);
  require(nvfp4_workspace_init(context(), workspace.as(), bytes, stream.get()));
  nvfp4_launch_args args{.size = sizeof args};
  args.m = state.range(0);
  args.weights = operands.weights.as();
  args.global_scales = operands.scales.as<float>();
  args.activations = operands.activations.as();
  args.out = operands.out.as();
  args.workspace = workspace.as();
  args.workspace_bytes = bytes;
  time_launches(state, stream, [&] { require(nvfp4_launch(gemm, &args, stream.get())); });
  require(nvfp4_gemm_destroy(gemm));
}
BENCHMARK(launch)->Arg(1)->Arg(64)->Unit(benchmark::kMicrosecond);

/// The driver's calls alone, with the same arguments.
void driver_launch(benchmark::State& state) {
  if (!have_gpu()) return state.SkipWithError("needs a GPU");
  const Gpu gpu = open_device("0").gpu;
  const Operands operands(gpu);
  const Stream stream(gpu);
  const Runtime runtime(gpu, {.database = ""});
  const int64_t m = state.range(0);
  const Gemm gemm = runtime.prepare({.n = kN, .k = kK, .policy = Policy::graph}, m, m);
  const Gemm::Range& range = gemm.ranges().front();
  const DeviceBuffer workspace(gpu, gemm.workspace_bytes());
  init_workspace(gpu, workspace.address(), gemm.workspace_bytes(), stream.get());
  const Problem problem{.n = kN, .k = kK, .arch = gpu.facts().arch};
  const LaunchPlan plan = launch_plan(range.selection.config, problem, m, gpu.facts());
  const GemmParams params{.weights = operands.weights.as(),
                          .activations = operands.activations.as(),
                          .out = operands.out.as(),
                          .global_scales = operands.scales.as<float>(),
                          .workspace = workspace.as(),
                          .lda = kK,
                          .ldo = kN,
                          .m = static_cast<int>(m),
                          .tiles_m = plan.tiles_m,
                          .partials_offset = static_cast<unsigned>(kCounterBytes)};
  time_launches(state, stream,
                [&] { range.kernel->try_launch(params, plan, Pdl::off, stream.get()); });
}
BENCHMARK(driver_launch)->Arg(1)->Arg(64)->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
