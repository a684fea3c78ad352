// SPDX-License-Identifier: Apache-2.0
#include "tuning_db/records.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <span>

namespace nvfp4 {
namespace {

constexpr std::string_view kPolicies[] = {"graph", "graph+pdl", "eager"};
constexpr std::string_view kProvenances[] = {"measured", "modelled"};
constexpr std::string_view kVerdicts[] = {
    "ok",       "constraint",  "compile_error",    "compile_timeout",
    "spill",    "load_failed", "launch_error",     "fault",
    "hang",     "wrong",       "nondeterministic", "out_of_bounds",
    "too_noisy"};
constexpr std::string_view kPurposes[] = {"tune", "bench", "import"};
constexpr std::string_view kOrigins[] = {"tuned", "imported"};
constexpr std::string_view kQuestions[] = {"same_config", "best_config"};
constexpr std::string_view kChanges[] = {"unchanged", "same",   "faster", "slower",
                                         "ambiguous", "broken", "added",  "missing"};
static_assert(std::size(kChanges) == static_cast<size_t>(Change::missing) + 1);
static_assert(std::size(kVerdicts) == static_cast<size_t>(Verdict::too_noisy) + 1);

template <typename Enum, size_t kCount>
std::optional<Enum> parse(const std::string_view (&names)[kCount], std::string_view text) {
  const auto* found = std::find(std::begin(names), std::end(names), text);
  if (found == std::end(names)) return std::nullopt;
  return static_cast<Enum>(found - std::begin(names));
}

/// Bounds that no config passes, legal or not, so that arithmetic on one cannot overflow or divide
/// by zero; legality on a device is legality.h's.
std::optional<std::string> config_error(const KernelConfig& c, const Problem& problem) {
  if (c.act != problem.act) return "config and problem differ in act";
  const int fields[] = {c.block_n,    c.block_m, c.block_k,     c.warps_n,   c.warps_k,
                        c.num_stages, c.split_k, c.ctas_per_sm, c.cluster_n, c.cluster_k};
  for (const int field : fields) {
    if (field < 1 || field > 1024) return fmt::format("config field {} is outside 1..1024", field);
  }
  return std::nullopt;
}

std::optional<std::string> problem_error(const Problem& problem, int64_t m) {
  if (auto error = shape_error(problem)) return error;
  return tokens_error(m);
}

constexpr double kDay = 86'400e6;  // microseconds: above all that is ever measured

/// The first of some figures that is no finite number from 0 to `limit`.
std::optional<std::string> figure_error(std::string_view what, std::span<const double> values,
                                        double limit) {
  for (const double value : values) {
    if (!(value >= 0 && value <= limit)) {
      return fmt::format("{} {} is outside 0..{}", what, value, limit);
    }
  }
  return std::nullopt;
}

std::optional<std::string> quartile_error(double q1, double median, double q3) {
  if (median <= 0) return "verdict ok without a time";
  if (q1 <= median && median <= q3) return std::nullopt;
  return fmt::format("quartiles {} {} {} us are out of order", q1, median, q3);
}

std::optional<std::string> timing_error(const Timing& t, Verdict verdict) {
  const double values[] = {t.median_us, t.q1_us, t.q3_us,     t.gbps,      t.pct_ceiling,
                           t.tflops,    t.f,     t.clock_mhz, t.launch_us, t.temperature_c};
  if (auto error = figure_error("timing value", values, kDay)) return error;
  if (t.samples < 0) return fmt::format("{} samples", t.samples);
  if (verdict != Verdict::ok) return std::nullopt;
  return quartile_error(t.q1_us, t.median_us, t.q3_us);
}

}  // namespace

std::string_view name(Policy policy) { return kPolicies[static_cast<int>(policy)]; }
std::string_view name(Provenance provenance) { return kProvenances[static_cast<int>(provenance)]; }
std::string_view name(Verdict verdict) { return kVerdicts[static_cast<int>(verdict)]; }
std::string_view name(Purpose purpose) { return kPurposes[static_cast<int>(purpose)]; }
std::string_view name(WinnerOrigin origin) { return kOrigins[static_cast<int>(origin)]; }
std::string_view name(Question question) { return kQuestions[static_cast<int>(question)]; }
std::string_view name(Change change) { return kChanges[static_cast<int>(change)]; }

std::optional<Policy> parse_policy(std::string_view text) { return parse<Policy>(kPolicies, text); }
std::optional<Provenance> parse_provenance(std::string_view text) {
  return parse<Provenance>(kProvenances, text);
}
std::optional<Verdict> parse_verdict(std::string_view text) {
  return parse<Verdict>(kVerdicts, text);
}
std::optional<Purpose> parse_purpose(std::string_view text) {
  return parse<Purpose>(kPurposes, text);
}
std::optional<WinnerOrigin> parse_origin(std::string_view text) {
  return parse<WinnerOrigin>(kOrigins, text);
}
std::optional<Question> parse_question(std::string_view text) {
  return parse<Question>(kQuestions, text);
}
std::optional<Change> parse_change(std::string_view text) { return parse<Change>(kChanges, text); }

DeviceKey key_of(const Device& device) {
  return {.arch = device.arch,
          .sm_count = device.sm_count,
          .l2_bytes = device.l2_bytes,
          .smem_per_block = device.smem_per_block,
          .bandwidth_class = static_cast<int>(std::lround(device.memory_bandwidth / 100e9)),
          .emulated = device.emulated};
}

MInterval tile_interval(const KernelConfig& config, int64_t m) {
  const int64_t hi = (m + config.block_m - 1) / config.block_m * config.block_m;
  return {hi - config.block_m + 1, hi};
}

std::optional<std::string> record_error(const DeviceKey& d) {
  if (!target_arch(d.arch.major, d.arch.minor)) return "arch is not supported";
  if (d.sm_count < 1 || d.sm_count > 4096) return fmt::format("{} SMs", d.sm_count);
  if (d.l2_bytes < 0 || d.l2_bytes > int64_t{1} << 40) return fmt::format("L2 of {}", d.l2_bytes);
  if (d.smem_per_block < 0 || d.smem_per_block > 1 << 24) {
    return fmt::format("shared memory of {}", d.smem_per_block);
  }
  if (d.bandwidth_class < 0 || d.bandwidth_class > 10'000) {
    return fmt::format("bandwidth class {}", d.bandwidth_class);
  }
  return std::nullopt;
}

std::optional<std::string> record_error(const RunRecord& r) {
  if (auto error = record_error(r.device)) return error;
  const double ceilings[] = {r.stream_gbps, r.tensor_tflops};
  return figure_error("ceiling", ceilings, 1e9);
}

std::optional<std::string> record_error(const Measurement& r) {
  if (auto error = record_error(r.device)) return error;
  if (auto error = problem_error(r.problem, r.m)) return error;
  if (auto error = config_error(r.kernel.config, r.problem)) return error;
  if (r.verdict == Verdict::ok && r.device.emulated && r.provenance == Provenance::measured) {
    return "measured on an emulated device";
  }
  if (r.kernel.registers < 0 || r.kernel.registers > 255) {
    return fmt::format("{} registers", r.kernel.registers);
  }
  if (r.kernel.spill_bytes < 0 || r.kernel.smem_bytes < 0) return "negative kernel facts";
  if (r.samples_us.size() > 4096) return fmt::format("{} samples kept", r.samples_us.size());
  for (const float sample : r.samples_us) {
    if (!std::isfinite(sample) || sample < 0) return fmt::format("a sample of {} us", sample);
  }
  return timing_error(r.timing, r.verdict);
}

std::optional<std::string> record_error(const Winner& w) {
  if (auto error = record_error(w.device)) return error;
  if (auto error = problem_error(w.problem, w.m_tuned)) return error;
  if (auto error = config_error(w.config, w.problem)) return error;
  if (w.runner_up) {
    if (auto error = config_error(*w.runner_up, w.problem)) return error;
  }
  if (w.device.emulated && w.provenance == Provenance::measured) {
    return "measured on an emulated device";
  }
  if (w.interval.lo < 1 || !w.interval.contains(w.m_tuned) || w.interval.hi > kMaxM + 1024) {
    return fmt::format("interval {}..{} does not fit tuned M = {}", w.interval.lo, w.interval.hi,
                       w.m_tuned);
  }
  if (w.regret_bound && !(*w.regret_bound >= 0 && *w.regret_bound <= 100)) {
    return fmt::format("regret bound {}", *w.regret_bound);
  }
  return std::nullopt;
}

std::optional<std::string> record_error(const Comparison& c) {
  if (auto error = problem_error(c.problem, c.m)) return error;
  const double ratios[] = {c.ratio, c.ratio_lo, c.ratio_hi, c.cycles_ratio};
  if (auto error = figure_error("ratio", ratios, 1e9)) return error;
  if (c.ratio_lo > c.ratio || c.ratio > c.ratio_hi) {
    return fmt::format("ratio {} is outside its interval {}..{}", c.ratio, c.ratio_lo, c.ratio_hi);
  }
  return std::nullopt;
}

std::optional<std::string> record_error(const ChangePoint& c) {
  if (auto error = problem_error(c.problem, c.m)) return error;
  if (!(c.ratio > 0 && c.ratio <= 1e9)) return fmt::format("ratio {}", c.ratio);
  return figure_error("p value", std::span(&c.p_value, 1), 1);
}

std::optional<std::string> record_error(const Rival& r) {
  if (auto error = problem_error(r.problem, r.m)) return error;
  if (r.name.empty()) return "a rival without a name";
  if (r.samples < 0) return fmt::format("{} samples", r.samples);
  const double times[] = {r.median_us, r.q1_us, r.q3_us};
  if (auto error = figure_error("timing value", times, kDay)) return error;
  return quartile_error(r.q1_us, r.median_us, r.q3_us);
}

}  // namespace nvfp4
