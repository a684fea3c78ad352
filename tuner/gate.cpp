// SPDX-License-Identifier: Apache-2.0
// Runs the cases of gate_data.h on a device. Every launch goes into a poisoned output between guard
// zones, with a workspace whose partial sums are poisoned too.
#include "tuner/gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <map>
#include <optional>
#include <span>

#include "generator/launch_plan.h"
#include "runtime/parallel.h"
#include "tuner/guarded_buffer.h"
#include "tuner/loaded_case.h"
#include "tuner/reference.h"

namespace nvfp4 {
namespace {

constexpr double kEmulatedBudget = 5e6;  // warp instructions of one launch
constexpr int kRandomRuns = 4;           // that must give the same bits
constexpr int64_t kMostTokens = 16
                                << 10;  // of one launch: more would fill the memory with test data

// How one launch differs from the next.
struct Trial {
  OutputType out_type = OutputType::bf16;
  int64_t ldo = 0;
  int64_t m = 0;
};

OutputType type_of(Activation act) {
  return act == Activation::bf16 ? OutputType::bf16 : OutputType::fp16;
}

int64_t align8(int64_t value) { return (value + 7) / 8 * 8; }

bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b, int threads) {
  constexpr size_t kPart = 4 << 20;
  std::atomic<bool> differ = false;
  parallel_for(static_cast<int64_t>((a.size() + kPart - 1) / kPart), threads, [&](int64_t part) {
    const size_t begin = part * kPart;
    const size_t size = std::min(kPart, a.size() - begin);
    if (std::memcmp(&a[begin], &b[begin], size) != 0) differ = true;
  });
  return !differ;
}

}  // namespace

struct Gate::State {
  Gpu gpu;
  Problem problem;
  int64_t max_m;
  uint64_t seed;
  int threads;
  Stream stream;
  HostBuffer first_result;
  HostBuffer other_result;
  std::map<GateKind, std::unique_ptr<LoadedCase>> cases;

  LoadedCase& loaded(GateKind kind);
  LaunchPlan plan(const KernelConfig& config, int64_t m) const {
    return launch_plan(config, problem, m, gpu.facts());
  }
  GemmParams params(const LoadedCase& data, const Trial& trial, const LaunchPlan& plan,
                    const GuardedBuffer& out, const GuardedBuffer& workspace) const;
  void prepare(const LaunchPlan& plan, GuardedBuffer& workspace) const;
  std::optional<std::string> wrong(const LoadedCase& data, const Trial& trial,
                                   std::span<const std::byte> out) const;

  std::optional<GateResult> try_case(const Kernel& kernel, const KernelConfig& config,
                                     GateKind kind, const Trial& trial, int runs);
  std::optional<GateResult> try_chain(const Kernel& kernel, const KernelConfig& config, int64_t m);
};

Gate::Gate(const Gpu& gpu, const Problem& problem, int64_t max_m, uint64_t seed, int threads)
    : state_(new State{.gpu = gpu,
                       .problem = problem,
                       .max_m = max_m,
                       .seed = seed,
                       .threads = threads,
                       .stream = Stream(gpu),
                       .first_result = HostBuffer(gpu),
                       .other_result = HostBuffer(gpu),
                       .cases = {}}) {}

Gate::~Gate() = default;

LoadedCase& Gate::State::loaded(GateKind kind) {
  std::unique_ptr<LoadedCase>& slot = cases[kind];
  if (!slot) slot = std::make_unique<LoadedCase>(gpu, problem, kind, max_m, seed, threads);
  return *slot;
}

GemmParams Gate::State::params(const LoadedCase& data, const Trial& trial, const LaunchPlan& plan,
                               const GuardedBuffer& out, const GuardedBuffer& workspace) const {
  GemmParams params = data.params();
  params.out = out.as<>();
  params.workspace = plan.workspace_bytes > 0 ? workspace.as<>() : nullptr;
  params.ldo = trial.ldo;
  params.tiles_m = plan.tiles_m;
  params.out_type = trial.out_type;
  params.partials_offset = static_cast<unsigned>(plan.counter_bytes);
  return params;
}

void Gate::State::prepare(const LaunchPlan& plan, GuardedBuffer& workspace) const {
  workspace.poison(stream.get());
  if (plan.workspace_bytes > 0) workspace_init(gpu, workspace.address(), plan, stream.get());
}

std::optional<std::string> Gate::State::wrong(const LoadedCase& data, const Trial& trial,
                                              std::span<const std::byte> out) const {
  const int64_t pitch = trial.ldo * static_cast<int64_t>(output_bytes(trial.out_type));
  for (const LoadedCase::Piece& piece : data.pieces()) {
    if (piece.data.m == 0) continue;
    const std::byte* rows = out.data() + piece.first * pitch;
    if (auto why = check(piece.data, rows, trial.ldo, trial.out_type, nullptr, threads)) return why;
  }
  return std::nullopt;
}

// Launches one case `runs` times into fresh poison; the workspace is left as the kernel left it.
std::optional<GateResult> Gate::State::try_case(const Kernel& kernel, const KernelConfig& config,
                                                GateKind kind, const Trial& trial, int runs) {
  LoadedCase& data = loaded(kind);
  data.arrange(trial.m);
  const LaunchPlan launch = plan(config, trial.m);
  const size_t element = output_bytes(trial.out_type);
  GuardedBuffer out(gpu, trial.m * trial.ldo * element);
  GuardedBuffer workspace(gpu, launch.workspace_bytes);
  prepare(launch, workspace);
  const GemmParams arguments = params(data, trial, launch, out, workspace);

  const std::span<std::byte> first = first_result.first(out.size());
  for (int run = 0; run < runs; ++run) {
    out.poison(stream.get());
    kernel.launch(arguments, launch, Pdl::off, stream.get(), data.extra());
    stream.synchronize();
    const std::span<std::byte> bytes = run == 0 ? first : other_result.first(out.size());
    out.download(bytes);
    for (const GuardedBuffer* buffer : {&out, &workspace}) {
      if (std::optional<std::string> damage = buffer->guard_damage()) {
        const char* what = buffer == &out ? "output" : "workspace";
        return GateResult{Verdict::out_of_bounds,
                          fmt::format("{}: write {} the {}", data.name(), *damage, what)};
      }
    }
    if (!poisoned_between_rows(bytes, problem.n * element, trial.ldo * element)) {
      return GateResult{Verdict::out_of_bounds,
                        fmt::format("{}: write between the rows of the output", data.name())};
    }
    const bool differs = run > 0 && !same_bytes(bytes, first, threads);
    if (run == 0 || differs) {
      if (std::optional<std::string> why = wrong(data, trial, bytes)) {
        return GateResult{Verdict::wrong, *why};
      }
    }
    if (differs) {
      return GateResult{Verdict::nondeterministic,
                        fmt::format("{}: run {} differs from run 1", data.name(), run + 1)};
    }
    if (launch.counter_bytes > 0 && !workspace.zero(launch.counter_bytes)) {
      return GateResult{
          Verdict::wrong,
          fmt::format("{}: workspace counters are not zero after the kernel", data.name())};
    }
  }
  return std::nullopt;
}

// A launch whose activations are the output of its predecessor, once dependent and once in order:
// both must give the same. A kernel that reads activations, or writes, before its wait is caught
// here.
std::optional<GateResult> Gate::State::try_chain(const Kernel& kernel, const KernelConfig& config,
                                                 int64_t m) {
  LoadedCase& data = loaded(GateKind::exact);
  data.arrange(m);
  const LaunchPlan launch = plan(config, m);
  const int64_t stride = align8(std::max(problem.n, problem.k));
  const Trial trial{.out_type = type_of(problem.act), .ldo = stride, .m = m};
  GuardedBuffer between(gpu, m * stride * 2);
  GuardedBuffer out(gpu, m * stride * 2);
  GuardedBuffer workspace(gpu, launch.workspace_bytes);
  prepare(launch, workspace);

  const GemmParams first = params(data, trial, launch, between, workspace);
  GemmParams second = params(data, trial, launch, out, workspace);
  second.activations = between.as<>();
  second.lda = stride;
  const std::span<std::byte> in_order = first_result.first(out.size());
  const std::span<std::byte> dependent = other_result.first(out.size());
  for (const Pdl pdl : {Pdl::off, Pdl::on}) {
    between.fill(std::byte{0}, stream.get());
    out.poison(stream.get());
    stream.synchronize();
    kernel.launch(first, launch, Pdl::off, stream.get(), data.extra());
    kernel.launch(second, launch, pdl, stream.get(), data.extra());
    stream.synchronize();
    out.download(pdl == Pdl::on ? dependent : in_order);
  }
  if (same_bytes(in_order, dependent, threads)) return std::nullopt;
  return GateResult{Verdict::wrong,
                    "a dependent launch does not wait for the output of its predecessor"};
}

GateResult Gate::run(const Kernel& kernel, const KernelConfig& config, int64_t m, GateDepth depth) {
  const int64_t n = state_->problem.n;
  const OutputType same = type_of(state_->problem.act);
  const OutputType other = same == OutputType::bf16 ? OutputType::fp16 : OutputType::bf16;
  const auto tried = [&](GateKind kind, const Trial& trial, int runs) {
    return state_->try_case(kernel, config, kind, trial, runs);
  };
  // Odd and wider row strides take the scalar stores, the even ones the vector stores.
  const Trial plain{.out_type = same, .ldo = n, .m = m};
  if (auto failure = tried(GateKind::exact, plain, 2)) return *failure;
  std::string covered = "exact data, guards, 2 identical runs";
  if (depth == GateDepth::full) {
    // FP32 output shows every bit of the sums, and one token less leaves the last tile ragged.
    const int64_t ragged = std::max<int64_t>(m - 1, 1);
    if (auto failure = tried(GateKind::exact, {OutputType::fp32, n, ragged}, 1)) return *failure;
    if (auto failure = tried(GateKind::position, {other, n + 8, m}, 1)) return *failure;
    // Only here does an order of summation that changes from run to run show. The emulated device
    // has one order.
    const int runs = state_->gpu.emulated() ? 1 : kRandomRuns;
    if (auto failure = tried(GateKind::random, {OutputType::fp32, n + 3, m}, runs)) return *failure;
    // The same with bias into rows that take vector stores.
    if (auto failure = tried(GateKind::random, {same, align8(n), m}, 1)) return *failure;
    if (auto failure = tried(GateKind::special, {same, n + 1, m}, 1)) return *failure;
    covered += ", positions, random data, special values";
    if (m > 1) covered += fmt::format(", m = {}", m - 1);
    if (config.pdl) {
      if (auto failure = state_->try_chain(kernel, config, m)) return *failure;
      covered += ", dependent launch";
    }
  }
  return {.verdict = Verdict::ok, .text = covered};
}

Verdict verdict_of(const CudaError& error) {
  if (error.code() == CUDA_ERROR_LAUNCH_TIMEOUT) return Verdict::hang;
  return error.is_sticky() ? Verdict::fault : Verdict::launch_error;
}

namespace {

// Warp instructions of one launch. A warp's work on 16 rows x 64 k: loads and decoding, and some
// two instructions a token tile and step; every warp loads activations for its rows.
double warp_instructions(const KernelConfig& config, const Problem& problem, int64_t m) {
  const double tiles = std::ceil(static_cast<double>(m) / config.block_m);
  const double token_tiles = tiles * config.block_m / kTokenTile;
  const double unit = 110 * tiles + token_tiles * (8 + 4.0 / units_per_warp(config));
  return unit * static_cast<double>(packed_tiles(problem.n, problem.k)) * 4;
}

}  // namespace

int64_t gate_rows(const KernelConfig& config, const Problem& problem, int64_t m,
                  const Device& device) {
  if (!device.emulated) return problem.n;
  const double total = warp_instructions(config, problem, m);
  if (total <= kEmulatedBudget) return problem.n;
  constexpr int64_t kGranule = 256;  // the largest block_n: the remainder of N is kept
  const auto rows = static_cast<int64_t>(static_cast<double>(problem.n) * kEmulatedBudget / total);
  const int64_t reduced = std::max<int64_t>(rows / kGranule, 1) * kGranule + problem.n % kGranule;
  return std::min(reduced, problem.n);
}

int64_t gate_tokens(const KernelConfig& config, const Problem& problem, int64_t m,
                    const Device& device) {
  int64_t most = kMostTokens;
  if (device.emulated) {
    const double share = 2 * kEmulatedBudget / warp_instructions(config, problem, m);
    if (share < 1) most = std::min(most, static_cast<int64_t>(static_cast<double>(m) * share));
  }
  if (m <= most) return m;
  // Whole tiles and the same ragged one.
  const int64_t tiles = std::max<int64_t>(most / config.block_m, 1);
  return std::min(m, tiles * config.block_m + m % config.block_m);
}

}  // namespace nvfp4
