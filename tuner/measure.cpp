// SPDX-License-Identifier: Apache-2.0
// Chains, replays and rounds. Replays are put on the stream back to back, so that the next one
// waits on the GPU before the last one ends, and launches outside of graphs wait behind a gate
// until all of a chain are there: no sample holds the host's launch time.
#include "tuner/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <future>
#include <memory>
#include <optional>
#include <utility>

#include "tuner/statistics.h"

namespace nvfp4 {
namespace {

constexpr int kFewestRounds = 15;
constexpr int kMostRounds = 120;
constexpr int kRoundsAtOnce = 5;             // between two looks at the statistics
constexpr double kWantedUncertainty = 5e-3;  // of the ratio to the fastest
constexpr auto kMostPerKernel = std::chrono::seconds(2);
// Launches that may wait on a stream before the next one makes the host wait, with room to spare.
constexpr int64_t kMostWaiting = 512;
constexpr double kLeastClock = 0.75;  // of the card's own

using Clock = std::chrono::steady_clock;

// Keeps a stream from starting what is put on it until it is destroyed. An emulated device has no
// such call and needs none: its clock is modelled.
class StreamGate {
 public:
  StreamGate(const Gpu& gpu, CUstream stream) {
    const auto call = gpu.driver().launch_host_func;
    if (call == nullptr) return;
    open_.emplace();
    auto passage = std::make_unique<std::future<void>>(open_->get_future());
    const auto wait = [](void* data) {
      std::unique_ptr<std::future<void>>(static_cast<std::future<void>*>(data))->wait();
    };
    gpu.check(call(stream, wait, passage.get()), "cuLaunchHostFunc");
    static_cast<void>(passage.release());  // the callback's now
  }
  ~StreamGate() {
    if (open_) open_->set_value();
  }
  StreamGate(const StreamGate&) = delete;
  StreamGate& operator=(const StreamGate&) = delete;

 private:
  std::optional<std::promise<void>> open_;
};

// A sequence of launches over the pool, as a graph or not, that can be put on a stream again and
// again.
class Chain {
 public:
  Chain(const Gpu& gpu, LaunchOn launch, const ColdPool& pool, Policy policy, CUstream stream)
      : gpu_(gpu), launch_(std::move(launch)), pool_(pool), stream_(stream) {
    // The first pass tells how many launches fill the wanted time.
    launches_ = pool.turns();
    if (policy == Policy::eager) {
      launches_ = std::min(launches_, kMostWaiting);
    } else {
      graph_.emplace(capture(gpu, stream, [&] { launch_all(); }));
    }
  }

  /// The chain between two events.
  void enqueue(const Event& begin, const Event& end) {
    if (graph_) {
      begin.record(stream_);
      graph_->launch(stream_);
      end.record(stream_);
      return;
    }
    const StreamGate gate(gpu_, stream_);
    begin.record(stream_);
    launch_all();
    end.record(stream_);
  }

  /// Makes the chain last about `seconds`, in whole passes over the pool, given one pass's time.
  void stretch(double pass_seconds, double seconds) {
    const double passes = std::clamp(std::ceil(seconds / pass_seconds), 1.0, 64.0);
    if (passes == 1) return;
    launches_ *= static_cast<int64_t>(passes);
    if (graph_) {
      graph_.reset();
      graph_.emplace(capture(gpu_, stream_, [&] { launch_all(); }));
    } else {
      launches_ = std::min(launches_, kMostWaiting);
    }
  }

  int64_t launches() const { return launches_; }

 private:
  // Goes on where the last chain ended: a short one must not come back to weights that are warm.
  void launch_all() {
    for (int64_t i = 0; i < launches_; ++i) {
      launch_(pool_.turn(next_), stream_);
      next_ = (next_ + 1) % pool_.turns();
    }
  }

  Gpu gpu_;
  LaunchOn launch_;
  const ColdPool& pool_;
  CUstream stream_;
  int64_t launches_ = 0;
  int64_t next_ = 0;
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

struct Interval {
  Event begin;
  Event end;

  explicit Interval(const Gpu& gpu) : begin(gpu), end(gpu) {}
  double seconds() const { return end.seconds_since(begin); }
};

// Seconds of each of `count` back-to-back runs of a chain, after one that is not timed.
std::vector<double> timed_runs(const Gpu& gpu, const Stream& stream, int count, Chain& chain) {
  std::vector<std::unique_ptr<Interval>> runs;
  for (int i = 0; i <= count; ++i) {
    runs.push_back(std::make_unique<Interval>(gpu));
    chain.enqueue(runs.back()->begin, runs.back()->end);
  }
  stream.synchronize();
  std::vector<double> seconds;
  for (int i = 1; i <= count; ++i) seconds.push_back(runs[i]->seconds());
  return seconds;
}

std::unique_ptr<Chain> make_chain(const Gpu& gpu, LaunchOn launch, const ColdPool& pool,
                                  Policy policy, const Stream& stream, double seconds) {
  auto chain = std::make_unique<Chain>(gpu, std::move(launch), pool, policy, stream.get());
  chain->stretch(timed_runs(gpu, stream, 1, *chain).front(), seconds);
  return chain;
}

float microseconds(double seconds, int64_t launches) {
  return static_cast<float>(seconds * 1e6 / static_cast<double>(launches));
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
  for (double run : timed_runs(gpu, stream, replays, *chain)) {
    times.samples_us.push_back(microseconds(run, chain->launches()));
  }
  return times;
}

void note_reading(PolicyTimes& times, const CardReading& reading) {
  times.clock_mhz = std::max(times.clock_mhz, reading.sm_mhz);
  times.temperature_c = std::max(times.temperature_c, reading.temperature_c);
  times.power_w = std::max(times.power_w, reading.power_w);
  times.throttled = times.throttled || reading.throttled;
  if (times.reasons.empty()) times.reasons = reading.reasons;
}

bool clock_collapsed(const CardReading& reading, double default_mhz) {
  if (reading.sm_mhz <= 0 || reading.power_capped) return false;
  return reading.sm_mhz < kLeastClock * default_mhz;
}

bool decided(std::span<const PolicyTimes> times) {
  if (times.front().samples_us.empty()) return false;
  const auto median = [](const PolicyTimes& t) { return quartiles(t.samples_us).median; };
  const auto fastest = std::min_element(times.begin(), times.end(),
                                        [&](auto& a, auto& b) { return median(a) < median(b); });
  return std::all_of(times.begin(), times.end(), [&](const PolicyTimes& other) {
    if (&other == &*fastest) return true;
    const double ratio = paired_ratio(other.samples_us, fastest->samples_us);
    const double open = paired_uncertainty(other.samples_us, fastest->samples_us);
    const bool outside = ratio - open > 1 + kTieBand;
    const bool inside = ratio + open < 1 + kTieBand;
    return outside || inside || open <= kWantedUncertainty;
  });
}

std::vector<PolicyTimes> time_rounds(const Gpu& gpu, const Card& card,
                                     std::span<const TimedKernel> timed, const ColdPool& pool,
                                     Policy policy, double seconds) {
  const Stream stream(gpu);
  const Interval idle(gpu);
  const double default_mhz = gpu.facts().clock_hz * 1e-6;
  const size_t count = timed.size();
  std::vector<std::unique_ptr<Chain>> chains;
  std::vector<std::unique_ptr<Interval>> runs;
  for (const TimedKernel& kernel : timed) {
    chains.push_back(make_chain(gpu, launch_of(kernel, policy), pool, policy, stream, seconds));
    runs.push_back(std::make_unique<Interval>(gpu));
  }
  std::vector<PolicyTimes> times(count, PolicyTimes{.policy = policy});
  const Clock::time_point give_up = Clock::now() + kMostPerKernel * count;

  for (int round = 0; round < kMostRounds; ++round) {
    // Every kernel takes every place in the order, so that none always runs after the same one. The
    // first runs twice: its first time, the card has been idle.
    const auto place = [&](size_t i) { return (i + round) % count; };
    chains[place(0)]->enqueue(idle.begin, idle.end);
    for (size_t i = 0; i < count; ++i) {
      chains[place(i)]->enqueue(runs[i]->begin, runs[i]->end);
    }
    const CardReading reading = card.read();  // while the card works
    stream.synchronize();
    const bool collapsed = clock_collapsed(reading, default_mhz);
    for (size_t i = 0; i < count; ++i) {
      PolicyTimes& t = times[place(i)];
      note_reading(t, reading);
      if (collapsed) {
        ++t.discarded;
      } else {
        t.samples_us.push_back(microseconds(runs[i]->seconds(), chains[place(i)]->launches()));
      }
    }
    const bool look = round % kRoundsAtOnce == kRoundsAtOnce - 1;
    if (!look || round + 1 < kFewestRounds) continue;
    if (decided(times) || Clock::now() > give_up) break;
  }
  return times;
}

}  // namespace nvfp4
