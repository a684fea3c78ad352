// SPDX-License-Identifier: Apache-2.0
// The questions in their order; each leads to a verdict or to the next.
#include "tuner/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "tuner/significance.h"

namespace nvfp4 {
namespace {

constexpr double kLeastGap = 0.005;  // of quartiles, when the card's noise is less
constexpr double kSameMedians = 0.005;
constexpr double kSameOverlap = 0.5;  // of the shorter interval
constexpr int kFewestSamples = 5;     // for quartiles that mean something
constexpr size_t kFewestRanks = 8;    // for the rank test to be worth asking
constexpr double kRankP = 0.01;

struct Interval {
  double lo = 0;
  double hi = 0;
};

// -1: all of the interval of a ratio lies below 1 by `gap`; 1: above; 0: neither.
int beyond(const Interval& ratio, double gap) {
  if (ratio.lo >= 1 + gap) return 1;
  if (ratio.hi <= 1 / (1 + gap)) return -1;
  return 0;
}

double overlap(const Interval& a, const Interval& b) {
  const double common = std::min(a.hi, b.hi) - std::max(a.lo, b.lo);
  if (common < 0) return 0;
  const double shorter = std::min(a.hi - a.lo, b.hi - b.lo);
  return shorter > 0 ? common / shorter : 1;
}

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

// "2.1 % slower", of a ratio of times.
std::string difference(double ratio) {
  return percent(std::abs(ratio - 1)) + (ratio > 1 ? " slower" : " faster");
}

std::string failure(const Measurement& row) {
  return fmt::format("{}{}{}", name(row.verdict), row.text.empty() ? "" : ": ", row.text);
}

// The pair, and what follows from it.
struct Pair {
  const Measurement& base;
  const Measurement& now;
  double gap;  // that the quartiles must keep
  Judgement result = {};

  Pair(const Measurement& base, const Measurement& now, double noise)
      : base(base), now(now), gap(is_modelled() ? kLeastGap : std::max(kLeastGap, noise)) {
    const Timing& a = base.timing;
    const Timing& b = now.timing;
    result.ratio = b.median_us / a.median_us;
    result.ratio_lo = b.q1_us / a.q3_us;
    result.ratio_hi = b.q3_us / a.q1_us;
    if (a.clock_mhz > 0 && b.clock_mhz > 0) {
      result.cycles_ratio = result.ratio * b.clock_mhz / a.clock_mhz;
    }
  }

  // Modelled times have no noise.
  bool is_modelled() const { return now.provenance == Provenance::modelled; }

  Judgement is(Change change, std::string reason = {}) {
    result.change = change;
    result.reason = std::move(reason);
    return result;
  }

  Judgement doubtful(std::string_view code, const std::string& why) {
    return is(Change::ambiguous, fmt::format("{}: {}", code, why));
  }
};

// Why the clock's word is not taken for a difference in time, or empty.
std::optional<Judgement> objection(Pair& pair, int side) {
  const Judgement& seen = pair.result;
  const Timing& a = pair.base.timing;
  const Timing& b = pair.now.timing;
  const std::string how = difference(seen.ratio);
  if (pair.is_modelled()) return std::nullopt;
  if (a.samples < kFewestSamples || b.samples < kFewestSamples) {
    return pair.doubtful("few-samples",
                         fmt::format("{}, of {} and {} samples", how, a.samples, b.samples));
  }
  if (seen.cycles_ratio == 0) {
    return pair.doubtful("clock-unknown", how + ", and no SM clock to tell a slower clock by");
  }
  if (a.throttled != b.throttled) {
    return pair.doubtful("throttled", how + ", the card throttled in one of the runs only");
  }
  const double clock = seen.cycles_ratio / seen.ratio;
  if (beyond({seen.ratio_lo * clock, seen.ratio_hi * clock}, pair.gap) != side) {
    return pair.doubtful("clock",
                         fmt::format("{} in time, {} in cycles ({:.0f} and {:.0f} MHz)", how,
                                     difference(seen.cycles_ratio), a.clock_mhz, b.clock_mhz));
  }
  if (std::min(pair.base.samples_us.size(), pair.now.samples_us.size()) >= kFewestRanks) {
    const double p = mann_whitney_p(pair.base.samples_us, pair.now.samples_us);
    if (p > kRankP) {
      return pair.doubtful("ranks", fmt::format("{}, but the ranks of the samples say so with p = "
                                                "{:.2f} only",
                                                how, p));
    }
  }
  return std::nullopt;
}

// The command that measures both anew.
std::string to_settle(const Measurement& row) {
  const Problem& p = row.problem;
  const bool grouped = p.kind == ProblemKind::grouped;
  return fmt::format("nvfp4-tune{} --shape {},{}{} --M {}{}{}", grouped ? "" : " bench --record",
                     p.n, p.k, grouped ? fmt::format(" --experts {}", p.experts) : "", row.m,
                     p.act == Activation::fp16 ? " --act fp16" : "", grouped ? " --force" : "");
}

Judgement judged(const Measurement& base, const Measurement& now, double noise) {
  if (failed_gate(now.verdict)) {
    if (base.verdict == now.verdict) {
      return {.change = Change::unchanged, .reason = "as before: " + failure(now)};
    }
    return {.change = Change::broken, .reason = failure(now)};
  }
  if (now.verdict != Verdict::ok) {
    return {.change = Change::ambiguous, .reason = "too-noisy: " + failure(now)};
  }
  if (base.verdict != Verdict::ok) {
    return {.change = Change::added, .reason = "before: " + failure(base)};
  }
  const std::string& code = now.kernel.code_hash;
  if (code.empty() || code != base.kernel.code_hash) return judge_times(base, now, noise);
  Pair pair(base, now, noise);
  const double ratio = pair.result.ratio;
  if (std::max(ratio, 1 / ratio) <= 1 + pair.gap) return pair.is(Change::unchanged);
  return pair.is(
      Change::unchanged,
      fmt::format("{}, but the machine code is the same: {}", difference(ratio),
                  pair.is_modelled() ? "the cost model changed" : "the machine changed"));
}

}  // namespace

bool failed_gate(Verdict verdict) {
  return verdict != Verdict::ok && verdict != Verdict::too_noisy &&
         verdict != Verdict::launch_error;
}

Judgement judge_times(const Measurement& base, const Measurement& now, double noise) {
  Pair pair(base, now, noise);
  const Judgement& seen = pair.result;
  if (const int side = beyond({seen.ratio_lo, seen.ratio_hi}, pair.gap); side != 0) {
    if (auto doubt = objection(pair, side)) return *doubt;
    return pair.is(side > 0 ? Change::slower : Change::faster);
  }
  const Timing& a = base.timing;
  const Timing& b = now.timing;
  const double common = overlap({a.q1_us, a.q3_us}, {b.q1_us, b.q3_us});
  const bool near = seen.ratio <= 1 + kSameMedians && 1 / seen.ratio <= 1 + kSameMedians;
  if (near && (common >= kSameOverlap || pair.is_modelled())) return pair.is(Change::same);
  const std::string how = difference(seen.ratio);
  if (a.samples < kFewestSamples || b.samples < kFewestSamples) {
    return pair.doubtful("few-samples",
                         fmt::format("{}, of {} and {} samples", how, a.samples, b.samples));
  }
  if (common > 0) {
    return pair.doubtful("overlap", fmt::format("{}, but the quartiles overlap by {}", how,
                                                percent(std::min(common, 1.0))));
  }
  return pair.doubtful("floor",
                       fmt::format("{}, the quartiles are not {} apart", how, percent(pair.gap)));
}

Judgement judge(const Measurement& base, const Measurement& now, double noise) {
  Judgement judgement = judged(base, now, noise);
  if (judgement.change == Change::ambiguous) {
    judgement.reason += "; to settle: " + to_settle(now);
  }
  return judgement;
}

}  // namespace nvfp4
