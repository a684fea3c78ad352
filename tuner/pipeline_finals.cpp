// SPDX-License-Identifier: Apache-2.0
// The finals: kernels that have run before, through the full gate and then against each other. A
// series that ends its worker names nobody, so each of its kernels runs alone before anyone is
// blamed.
#include <fmt/format.h>

#include <utility>

#include "generator/config_text.h"
#include "tuner/gate.h"
#include "tuner/measure.h"
#include "tuner/pipeline.h"
#include "tuner/rows.h"
#include "tuner/statistics.h"

namespace nvfp4 {
namespace {

// Samples that spread wider than this say more about the machine than about the kernel.
constexpr double kMostNoise = 0.15;

// And so does a series of which more than a fifth had to be left out.
constexpr double kMostDiscarded = 0.2;

// Why samples are no evidence, or empty.
std::string noise_of(const PolicyTimes& times) {
  const auto kept = static_cast<double>(times.samples_us.size());
  if (times.samples_us.empty() || times.discarded > kMostDiscarded * (kept + times.discarded)) {
    return fmt::format("{} of {} rounds ran with the clock far down ({} MHz at most, {})",
                       times.discarded, kept + times.discarded, times.clock_mhz,
                       times.reasons.empty() ? "no reason given" : times.reasons);
  }
  const Quartiles q = quartiles(times.samples_us);
  if (q.q3 - q.q1 <= kMostNoise * q.median) return {};
  return fmt::format("half of the samples lie outside {:.2f} to {:.2f} us", q.q1, q.q3);
}

// "; clock held at 1410 MHz by power cap, 698 W": what explains a time beside the kernel.
std::string slowdown_of(const PolicyTimes& times) {
  if (!times.throttled) return {};
  return fmt::format("; clock held at {} MHz by {}, {:.0f} W, {} C", times.clock_mhz, times.reasons,
                     times.power_w, times.temperature_c);
}

}  // namespace

// What is timed together, and where each kernel's row is.
struct Pipeline::Series {
  FinalsJob job;
  std::vector<size_t> places;

  void add(const KernelConfig& config, std::string image, size_t place) {
    job.configs.push_back(config);
    job.images.push_back(std::move(image));
    places.push_back(place);
  }
};

std::optional<Evaluation> Pipeline::gate_fully(const KernelConfig& config, int64_t m,
                                               const Compilation& kernel) {
  const std::pair key(config_text(config), m);
  if (const auto known = fully_gated_.find(key); known != fully_gated_.end()) return known->second;
  EvaluateJob job = evaluate_job(config, m, problem_.n);
  job.depth = GateDepth::full;
  job.image = image_of(kernel);
  listener_.started(config);
  std::optional<WorkerDeath> death;
  const std::optional<Message> reply = ask_bench(key.first, encode(job), death);
  listener_.finished(config);
  if (!reply && !death) return std::nullopt;
  return fully_gated_[key] = death ? evaluation_of(*death) : decode_evaluation(*reply);
}

// A row for each config; those that pass the gate join the series. False when stopped.
bool Pipeline::admit(const std::vector<KernelConfig>& configs, Series& series,
                     std::vector<Measurement>& rows) {
  const int64_t m = series.job.m;
  for (const KernelConfig& config : configs) {
    workshop_.progress.step("finals", rows.size(), configs.size(), fmt::format("M = {}", m));
    const std::optional<Compilation> kernel = compile_now(config);
    if (workshop_.stopped()) return false;
    rows.push_back(row(config, m, series.job.policy, kernel.value_or(Compilation{})));
    Evaluation evaluation{.verdict = Verdict::compile_error, .text = "does not compile any more"};
    if (kernel) {
      std::optional<Evaluation> gated = gate_fully(config, m, *kernel);
      if (!gated) return false;
      evaluation = std::move(*gated);
    }
    rows.back().verdict = evaluation.verdict;
    rows.back().text = evaluation.text;
    if (evaluation.verdict == Verdict::ok) series.add(config, image_of(*kernel), rows.size() - 1);
  }
  return true;
}

// Empty without a death: the user wants to stop.
std::optional<FinalsResult> Pipeline::time_together(const FinalsJob& job,
                                                    std::optional<WorkerDeath>& death) {
  const std::string what =
      job.configs.size() == 1 ? config_text(job.configs.front()) : "a series of finals";
  const std::optional<Message> reply = ask_bench(what, encode(job), death);
  if (!reply) return std::nullopt;
  FinalsResult result = decode_finals_result(*reply);
  if (result.error.empty()) return result;
  const bool hung = result.verdict == Verdict::hang;
  death = {.cause = hung ? WorkerDeath::Cause::hung : WorkerDeath::Cause::died,
           .text = std::move(result.error)};
  return std::nullopt;
}

// Times each alone, and leaves those in the series that live. False when stopped.
bool Pipeline::single_out(Series& series, std::vector<Measurement>& rows) {
  FinalsJob empty = series.job;
  empty.configs.clear();
  empty.images.clear();
  Series living{.job = empty, .places = {}};
  for (size_t i = 0; i < series.places.size(); ++i) {
    Series alone{.job = empty, .places = {}};
    alone.add(series.job.configs[i], series.job.images[i], series.places[i]);
    std::optional<WorkerDeath> death;
    const bool lives = time_together(alone.job, death).has_value();
    if (lives) {
      living.add(series.job.configs[i], series.job.images[i], series.places[i]);
    } else if (death) {
      Measurement& measurement = rows[series.places[i]];
      measurement.verdict = evaluation_of(*death).verdict;
      measurement.text = "while it was timed: " + death->text;
    } else {
      return false;
    }
  }
  series = std::move(living);
  return true;
}

std::vector<Measurement> Pipeline::finals(int64_t m, Policy policy,
                                          const std::vector<KernelConfig>& configs) {
  Series series{.job = {.device = workshop_.device,
                        .problem = problem_,
                        .m = m,
                        .policy = policy,
                        .seed = seed_},
                .places = {}};
  std::vector<Measurement> rows;
  if (!admit(configs, series, rows)) return {};
  if (series.places.empty()) return rows;
  std::optional<WorkerDeath> death;
  std::optional<FinalsResult> result = time_together(series.job, death);
  if (death) {
    if (!single_out(series, rows)) return {};
    if (series.places.empty()) return rows;
    result = time_together(series.job, death);
  }
  if (death) throw MeasureError("the finals cannot be measured: " + death->text);
  if (!result) return {};
  for (size_t i = 0; i < series.places.size(); ++i) {
    Measurement& measurement = rows[series.places[i]];
    const PolicyTimes& times = result->times.at(i);
    const std::string noise = noise_of(times);
    if (!noise.empty()) measurement.text = noise;
    if (!noise.empty()) measurement.verdict = Verdict::too_noisy;
    measurement.text += slowdown_of(times);
    if (times.samples_us.empty()) continue;
    measurement.timing = timing_of(times, problem_, m, ceilings(m));
    measurement.samples_us = times.samples_us;
  }
  return rows;
}

}  // namespace nvfp4
