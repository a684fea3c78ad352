// SPDX-License-Identifier: Apache-2.0
// Chains, replays and rounds. Replays are put on the stream back to back, so that the next one
// waits on the GPU before the last one ends: no sample holds the host's launch time.
#include "tuner/measure.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "tuner/gpu_clock.h"
#include "tuner/statistics.h"

namespace nvfp4 {
namespace {

constexpr int kFewestRounds = 15;
constexpr int kMostRounds = 120;
constexpr int kRoundsAtOnce = 5;             // between two looks at the statistics
constexpr double kWantedUncertainty = 5e-3;  // of the ratio to the fastest

// A sequence of launches over the pool, as a graph or not, that can be put on a stream again and
// again.
class Chain {
 public:
  Chain(const Gpu& gpu, LaunchOn launch, const ColdPool& pool, Policy policy, CUstream stream)
      : launch_(std::move(launch)), pool_(pool), stream_(stream) {
    // The first pass tells how many launches fill the wanted time.
    launches_ = pool.turns();
    if (policy != Policy::eager) graph_.emplace(capture(gpu, stream, [&] { launch_all(); }));
  }

  void enqueue() const {
    if (graph_) {
      graph_->launch(stream_);
    } else {
      launch_all();
    }
  }

  /// Makes the chain last about `seconds`, in whole passes over the pool, given one pass's time.
  void stretch(const Gpu& gpu, double pass_seconds, double seconds) {
    const double passes = std::clamp(std::ceil(seconds / pass_seconds), 1.0, 64.0);
    if (passes == 1) return;
    launches_ = pool_.turns() * static_cast<int64_t>(passes);
    if (graph_) {
      graph_.reset();
      graph_.emplace(capture(gpu, stream_, [&] { launch_all(); }));
    }
  }

  int64_t launches() const { return launches_; }

 private:
  void launch_all() const {
    for (int64_t i = 0; i < launches_; ++i) launch_(pool_.turn(i % pool_.turns()), stream_);
  }

  LaunchOn launch_;
  const ColdPool& pool_;
  CUstream stream_;
  int64_t launches_ = 0;
  std::optional<GraphExec> graph_;
};

LaunchOn launch_of(const TimedKernel& timed, Policy policy) {
  const Pdl pdl = policy == Policy::graph_pdl ? Pdl::on : Pdl::off;
  return [timed, pdl](const ColdWeights& cold, CUstream stream) {
    GemmParams params = timed.params;
    params.weights = reinterpret_cast<const void*>(cold.weights);
    const Groups groups{reinterpret_cast<const int*>(cold.expert_offsets), timed.experts};
    timed.kernel->launch(params, timed.plan, pdl, stream, timed.experts > 0 ? &groups : nullptr);
  };
}

// Seconds of each of `count` back-to-back runs of `enqueue`, after one that is not timed.
template <class Enqueue>
std::vector<double> timed_runs(const Gpu& gpu, const Stream& stream, int count,
                               const Enqueue& enqueue) {
  std::vector<std::unique_ptr<Event>> events;
  for (int i = 0; i <= count; ++i) events.push_back(std::make_unique<Event>(gpu));
  enqueue();
  for (int i = 0; i < count; ++i) {
    events[i]->record(stream.get());
    enqueue();
  }
  events[count]->record(stream.get());
  stream.synchronize();
  std::vector<double> seconds;
  for (int i = 0; i < count; ++i) seconds.push_back(events[i + 1]->seconds_since(*events[i]));
  return seconds;
}

std::unique_ptr<Chain> make_chain(const Gpu& gpu, LaunchOn launch, const ColdPool& pool,
                                  Policy policy, const Stream& stream, double seconds) {
  auto chain = std::make_unique<Chain>(gpu, std::move(launch), pool, policy, stream.get());
  const double pass = timed_runs(gpu, stream, 1, [&] { chain->enqueue(); }).front();
  chain->stretch(gpu, pass, seconds);
  return chain;
}

float microseconds(double seconds, int64_t launches) {
  return static_cast<float>(seconds * 1e6 / static_cast<double>(launches));
}

// Half-width of what is still unknown about the closest rival of the fastest kernel.
double open_question(std::span<const PolicyTimes> times) {
  const auto median = [](const PolicyTimes& t) { return quartiles(t.samples_us).median; };
  const auto fastest = std::min_element(times.begin(), times.end(),
                                        [&](auto& a, auto& b) { return median(a) < median(b); });
  double worst = 0;
  for (const PolicyTimes& other : times) {
    if (&other == &*fastest) continue;
    const double ratio = paired_ratio(other.samples_us, fastest->samples_us);
    // Only the candidates near the 2 % tie band can change the choice.
    if (ratio > 1.05) continue;
    worst = std::max(worst, paired_uncertainty(other.samples_us, fastest->samples_us));
  }
  return worst;
}

}  // namespace

PolicyTimes time_cold(const Gpu& gpu, const TimedKernel& timed, const ColdPool& pool, Policy policy,
                      double seconds, int replays) {
  return time_cold(gpu, launch_of(timed, policy), pool, policy, seconds, replays);
}

PolicyTimes time_cold(const Gpu& gpu, const LaunchOn& launch, const ColdPool& pool, Policy policy,
                      double seconds, int replays) {
  const Stream stream(gpu);
  const auto chain = make_chain(gpu, launch, pool, policy, stream, seconds);
  PolicyTimes times{.policy = policy};
  for (double run : timed_runs(gpu, stream, replays, [&] { chain->enqueue(); })) {
    times.samples_us.push_back(microseconds(run, chain->launches()));
  }
  return times;
}

std::vector<PolicyTimes> time_rounds(const Gpu& gpu, std::span<const TimedKernel> timed,
                                     const ColdPool& pool, Policy policy, double seconds) {
  const Stream stream(gpu);
  const GpuClock clock(gpu);
  std::vector<std::unique_ptr<Chain>> chains;
  for (const TimedKernel& kernel : timed) {
    chains.push_back(make_chain(gpu, launch_of(kernel, policy), pool, policy, stream, seconds));
  }
  const size_t count = chains.size();
  std::vector<PolicyTimes> times(count, PolicyTimes{.policy = policy});
  std::vector<std::unique_ptr<Event>> events;
  for (size_t i = 0; i <= count; ++i) events.push_back(std::make_unique<Event>(gpu));

  for (int round = 0; round < kMostRounds; ++round) {
    // Every kernel takes every place in the order, so that none always runs after the same one.
    const auto place = [&](size_t i) { return (i + round) % count; };
    chains[place(0)]->enqueue();
    for (size_t i = 0; i < count; ++i) {
      events[i]->record(stream.get());
      chains[place(i)]->enqueue();
    }
    events[count]->record(stream.get());
    const bool look = round % kRoundsAtOnce == kRoundsAtOnce - 1;
    const ClockReading reading = look ? clock.read() : ClockReading{};
    stream.synchronize();
    for (size_t i = 0; i < count; ++i) {
      PolicyTimes& t = times[place(i)];
      t.samples_us.push_back(
          microseconds(events[i + 1]->seconds_since(*events[i]), chains[place(i)]->launches()));
      if (!look) continue;
      t.clock_mhz = std::max(t.clock_mhz, reading.sm_mhz);
      t.throttled = t.throttled || reading.throttled;
    }
    if (look && round + 1 >= kFewestRounds && open_question(times) <= kWantedUncertainty) break;
  }
  return times;
}

}  // namespace nvfp4
