// SPDX-License-Identifier: Apache-2.0
// What the GPU worker does with each kind of request.
#include "tuner/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "generator/launch_plan.h"
#include "runtime/numerics.h"
#include "tuner/canary.h"
#include "tuner/cold_pool.h"
#include "tuner/cublas.h"
#include "tuner/gate.h"
#include "tuner/matrix.h"
#include "tuner/measure.h"
#include "tuner/message.h"
#include "tuner/nvml.h"

namespace nvfp4 {
namespace {

constexpr double kCoarseSeconds = 4e-4;  // of one replay: enough to rank, finals decide
constexpr int kCoarseReplays = 7;
constexpr int64_t kMostTokensAtOnce = 4096;  // test data for all Ms of a run up to here
// An emulated kernel that executes this many warp instructions never ends: the gate's launches stay
// below a tenth of it.
constexpr int64_t kHangInstructions = 100'000'000;
constexpr double kRoundSeconds = 2.5e-3;        // of one finalist's chain in one round
constexpr double kEmulatedRoundSeconds = 1e-5;  // on a modelled clock, which has no noise

// An emulated device has no cache to outlast.
int64_t copies_for(const Gpu& gpu, int64_t bytes) {
  return gpu.emulated() ? 2 : pool_copies(bytes, gpu.facts().l2_bytes);
}

// The arguments of timed launches that do not change from launch to launch: hot, as when serving.
struct TimingData {
  Problem problem;
  int64_t max_m;
  ColdPool pool;
  DeviceBuffer activations;
  DeviceBuffer out;
  DeviceBuffer global_scales;

  TimingData(const Gpu& gpu, const Problem& p, int64_t max_m, uint64_t seed)
      : problem(p),
        max_m(max_m),
        pool(gpu, p, copies_for(gpu, packed_bytes(p.n, p.k) * std::max<int64_t>(p.experts, 1)),
             seed),
        activations(gpu, max_m * p.k * 2),
        out(gpu, max_m * p.n * 2),
        global_scales(gpu, padded_rows(p.n) / kTileRows * std::max<int64_t>(p.experts, 1) * 4) {
    std::mt19937_64 random(seed);
    std::vector<uint16_t> values(max_m * p.k);
    for (uint16_t& value : values) {
      const float x =
          static_cast<float>(static_cast<int64_t>(random() >> 40) - (1 << 23)) * 0x1p-23f;
      value = p.act == Activation::bf16 ? bf16_bits(x) : fp16_bits(x);
    }
    activations.upload(bytes_of(values));
    const std::vector<float> ones(global_scales.size() / 4, 1.0f);
    global_scales.upload(bytes_of(ones));
  }
};

// A loaded kernel with its launch and a workspace of its own.
struct Prepared {
  Kernel kernel;
  LaunchPlan plan;
  DeviceBuffer workspace;

  Prepared(const Gpu& gpu, std::string_view image, const KernelConfig& config,
           const Problem& problem, int64_t m)
      : kernel(gpu, image, smem_bytes(config)),
        plan(launch_plan(config, problem, m, gpu.facts())),
        workspace(gpu, plan.workspace_bytes) {
    if (plan.workspace_bytes > 0) workspace_init(gpu, workspace.address(), plan, nullptr);
  }

  TimedKernel timed(const TimingData& data, int64_t m) const {
    return {.kernel = &kernel,
            .params = {.activations = data.activations.as<>(),
                       .out = data.out.as<>(),
                       .global_scales = data.global_scales.as<float>(),
                       .workspace = plan.workspace_bytes > 0 ? workspace.as<>() : nullptr,
                       .lda = data.problem.k,
                       .ldo = data.problem.n,
                       .m = static_cast<int>(m),
                       .tiles_m = plan.tiles_m,
                       .out_type = data.problem.act == Activation::bf16 ? OutputType::bf16
                                                                        : OutputType::fp16,
                       .partials_offset = static_cast<unsigned>(plan.counter_bytes)},
            .plan = plan,
            .experts = static_cast<int>(data.problem.experts)};
  }
};

}  // namespace

struct Bench::State {
  std::string device;
  std::optional<Gpu> gpu;
  std::unique_ptr<Card> card;
  std::unique_ptr<Gate> gate;
  Problem gate_problem;
  int64_t gate_tokens_made = 0;
  uint64_t gate_seed = 0;
  std::unique_ptr<TimingData> timing;
  std::unique_ptr<Cublas> cublas;

  void open(const std::string& spec) {
    if (gpu && device == spec) return;
    timing.reset();
    gate.reset();
    cublas.reset();
    gpu.emplace(open_device(spec).gpu);
    card = std::make_unique<Card>(*gpu);
    device = spec;
    if (!gpu->emulated()) return;
    const auto limit = reinterpret_cast<void (*)(int64_t)>(
        gpu->driver().symbol("nvfp4_emulator_limit_instructions"));
    if (limit != nullptr) limit(kHangInstructions);
  }

  /// The gate of a problem with room for `m` tokens; at once for `max_m` where that costs little.
  Gate& gate_for(const Problem& problem, int64_t m, int64_t max_m, uint64_t seed) {
    const bool fits = gate && gate_problem == problem && gate_seed == seed && gate_tokens_made >= m;
    if (!fits) {
      gate.reset();
      const int threads = static_cast<int>(std::max(std::thread::hardware_concurrency(), 1u));
      gate_tokens_made = gpu->emulated() || max_m > kMostTokensAtOnce ? m : std::max(m, max_m);
      gate = std::make_unique<Gate>(*gpu, problem, gate_tokens_made, seed, threads);
      gate_problem = problem;
      gate_seed = seed;
    }
    return *gate;
  }

  /// Data for launches of m tokens; room for max_m is made at once.
  TimingData& timing_for(const Problem& problem, int64_t m, int64_t max_m, uint64_t seed) {
    if (!timing || timing->problem != problem || timing->max_m < m) {
      timing.reset();
      timing = std::make_unique<TimingData>(*gpu, problem, max_m, seed);
    }
    if (problem.kind == ProblemKind::grouped) timing->pool.route(problem.experts, m, seed);
    return *timing;
  }

  /// What an emulated device says about its last fault; empty on a real one.
  std::string fault_report() const {
    if (!gpu || !gpu->emulated()) return {};
    const auto report = reinterpret_cast<size_t (*)(char*, size_t)>(
        gpu->driver().symbol("nvfp4_emulator_last_report"));
    if (report == nullptr) return {};
    std::string text(4096, '\0');
    report(text.data(), text.size());
    text.resize(std::min(text.find('\0'), text.size()));
    return text;
  }

  Evaluation evaluate(const EvaluateJob& job, bool& spoilt);
  FinalsResult finals(const FinalsJob& job);
  MatrixResult matrix(const MatrixJob& job);
};

Evaluation Bench::State::evaluate(const EvaluateJob& job, bool& spoilt) {
  Evaluation evaluation;
  const auto failed = [&](const CudaError& error, Verdict verdict) {
    spoilt = error.is_sticky();
    const std::string report = fault_report();
    return Evaluation{.verdict = verdict, .text = report.empty() ? error.what() : report};
  };
  Problem gated = job.problem;
  gated.n = job.gate_n;
  const int64_t m = gate_tokens(job.config, gated, job.m, gpu->facts());
  std::optional<Prepared> prepared;
  try {
    prepared.emplace(*gpu, job.image, job.config, gated, job.m);
  } catch (const CudaError& error) {
    // No memory left is the machine's state, not the image's.
    const bool refused = !error.is_sticky() && error.code() != CUDA_ERROR_OUT_OF_MEMORY;
    return failed(error, refused ? Verdict::load_failed : verdict_of(error));
  }
  evaluation.registers = prepared->kernel.registers();
  try {
    Gate& gate = gate_for(gated, m, job.max_m, job.seed);
    const GateResult result = gate.run(prepared->kernel, job.config, m, job.depth);
    evaluation.verdict = result.verdict;
    evaluation.text = result.text;
    if (job.gate_n != job.problem.n) {
      evaluation.text += fmt::format(" (gate on N={} of {})", job.gate_n, job.problem.n);
    }
    if (m != job.m) evaluation.text += fmt::format(" (gate on M={} of {})", m, job.m);
    if (evaluation.verdict != Verdict::ok || job.policies.empty()) return evaluation;
    const TimingData& data = timing_for(job.problem, job.m, job.max_m, job.seed);
    for (Policy policy : job.policies) {
      evaluation.times.push_back(time_cold(*gpu, prepared->timed(data, job.m), data.pool, policy,
                                           kCoarseSeconds, kCoarseReplays));
    }
  } catch (const CudaError& error) {
    return failed(error, verdict_of(error));
  }
  const CardReading reading = card->read();
  for (PolicyTimes& times : evaluation.times) note_reading(times, reading);
  return evaluation;
}

FinalsResult Bench::State::finals(const FinalsJob& job) {
  const TimingData& data = timing_for(job.problem, job.m, job.m, job.seed);
  std::vector<std::unique_ptr<Prepared>> prepared;
  std::vector<TimedKernel> timed;
  for (size_t i = 0; i < job.configs.size(); ++i) {
    prepared.push_back(
        std::make_unique<Prepared>(*gpu, job.images[i], job.configs[i], job.problem, job.m));
    timed.push_back(prepared.back()->timed(data, job.m));
  }
  return {.times = time_rounds(*gpu, *card, timed, data.pool, job.policy,
                               gpu->emulated() ? kEmulatedRoundSeconds : kRoundSeconds)};
}

MatrixResult Bench::State::matrix(const MatrixJob& job) {
  MatrixResult result;
  try {
    if (!cublas) cublas = std::make_unique<Cublas>();
    result.library = cublas->name();
    result.times = time_matrix(*gpu, *cublas, job.n, job.k, job.m);
  } catch (const CublasError& error) {
    result.error = error.what();
  } catch (const MeasureError& error) {
    result.error = error.what();
  }
  return result;
}

Bench::Bench() : state_(new State) {}

Bench::~Bench() = default;

Message Bench::serve(const Message& request) {
  const std::string kind = request.header.value("kind", "");
  if (kind == "canary") {
    const CanaryJob job = decode_canary_job(request);
    state_->open(job.device);
    const CanaryResult result = run_canary(*state_->gpu, job);
    Message reply = encode(result);
    reply.header["last"] = !result.error.empty();
    return reply;
  }
  if (kind == "ceilings") {
    const CeilingsJob job = decode_ceilings_job(request);
    state_->open(job.device);
    const ColdPool pool(*state_->gpu, job.bytes, copies_for(*state_->gpu, job.bytes), 1);
    return encode(measure_ceilings(*state_->gpu, job.image, pool));
  }
  if (kind == "finals") {
    const FinalsJob job = decode_finals_job(request);
    state_->open(job.device);
    try {
      return encode(state_->finals(job));
    } catch (const CudaError& error) {
      Message reply = encode(FinalsResult{.verdict = verdict_of(error), .error = error.what()});
      reply.header["last"] = true;
      return reply;
    }
  }
  if (kind == "matrix") {
    const MatrixJob job = decode_matrix_job(request);
    state_->open(job.device);
    return encode(state_->matrix(job));
  }
  const EvaluateJob job = decode_evaluate_job(request);
  state_->open(job.device);
  bool spoilt = false;
  Evaluation evaluation = state_->evaluate(job, spoilt);
  // What shows only when its memory is freed is still this candidate's doing.
  const CUresult after = spoilt ? CUDA_SUCCESS : state_->gpu->driver().ctx_synchronize();
  if (is_sticky(after)) {
    spoilt = true;
    const CudaError error(state_->gpu->driver(), after, "cuCtxSynchronize", "after the last run");
    evaluation = {.verdict = verdict_of(error), .text = error.what()};
  }
  Message reply = encode(evaluation);
  if (spoilt) reply.header["last"] = true;
  return reply;
}

}  // namespace nvfp4
