// SPDX-License-Identifier: Apache-2.0
#include "tuner/db_winners.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "generator/config_text.h"
#include "tuner/noise_floor.h"
#include "tuner/statistics.h"
#include "tuner/verdict.h"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

Json known(double value) { return value == 0 ? Json(nullptr) : Json(value); }

bool admits(const DbRequest& request, const Winner& w) {
  if (request.shape && *request.shape != Shape{w.problem.n, w.problem.k}) return false;
  if (request.experts && *request.experts != w.problem.experts) return false;
  if (request.act && *request.act != w.problem.act) return false;
  if (request.policy && *request.policy != w.policy) return false;
  if (request.provenance && *request.provenance != w.provenance) return false;
  return request.tokens.empty() || std::any_of(request.tokens.begin(), request.tokens.end(),
                                               [&](int64_t m) { return w.interval.contains(m); });
}

auto device_order(const DeviceKey& d) {
  return std::tuple(d.emulated, sm_name(d.arch), d.sm_count, d.l2_bytes, d.smem_per_block,
                    d.bandwidth_class);
}

auto order(const StoredWinner& s) {
  const Winner& w = s.winner;
  return std::tuple(device_order(w.device), w.problem.n, w.problem.k, w.problem.experts,
                    w.problem.act, w.policy, w.provenance, w.m_tuned, w.origin);
}

/// The columns that say what a winner is for, and some more.
std::vector<Column> columns_and(std::initializer_list<Column> more) {
  std::vector<Column> columns = {
      {"device", "device"}, {"n", "N"},           {"k", "K"}, {"experts", "experts"},
      {"act", "act"},       {"policy", "policy"}, {"m", "M"}};
  columns.insert(columns.end(), more);
  return columns;
}

Json winner_row(const StoredWinner& s) {
  const Winner& w = s.winner;
  const Timing& t = s.evidence.timing;
  return {{"device", s.run.device_name},
          {"arch", sm_name(w.device.arch)},
          {"n", w.problem.n},
          {"k", w.problem.k},
          {"experts", w.problem.experts},
          {"act", name(w.problem.act)},
          {"policy", name(w.policy)},
          {"m", w.m_tuned},
          {"m_lo", w.interval.lo},
          {"m_hi", w.interval.hi},
          {"us", t.median_us},
          {"us_q1", t.q1_us},
          {"us_q3", t.q3_us},
          {"samples", t.samples},
          {"gbps", t.gbps},
          {"pct_ceiling", t.pct_ceiling},
          {"tflops", t.tflops},
          {"f", t.f},
          {"clock_mhz", known(t.clock_mhz)},
          {"provenance", name(w.provenance)},
          {"origin", name(w.origin)},
          {"config", config_text(w.config)},
          {"runner_up", w.runner_up ? Json(config_text(*w.runner_up)) : Json(nullptr)},
          {"regret_bound", w.regret_bound ? Json(*w.regret_bound) : Json(nullptr)},
          {"code_hash", w.code_hash},
          {"evidence", w.evidence},
          {"date", s.run.date}};
}

/// The option that opens such a device: any real one, or the part that the key is of.
std::string device_option(const DeviceKey& key) {
  if (!key.emulated) return "";
  for (const KnownPart& part : known_parts()) {
    Device device = part.device;
    device.emulated = true;
    device.arch = target_arch(device.arch.major, device.arch.minor).value_or(device.arch);
    if (key_of(device) == key) return fmt::format(" --device emulated:{}", part.id);
  }
  return "";
}

std::string reproduce(const StoredWinner& s) {
  const Winner& w = s.winner;
  const std::string experts =
      w.problem.experts > 0 ? fmt::format(" --experts {}", w.problem.experts) : "";
  return fmt::format("nvfp4-tune --shape {},{}{} --M {} --act {} --policy {} --config {} --force{}",
                     w.problem.n, w.problem.k, experts, w.m_tuned, name(w.problem.act),
                     name(w.policy), config_text(w.config), device_option(w.device));
}

std::string quartile_text(const Timing& t) {
  if (t.samples == 0) return fmt::format("{:.3f} us", t.median_us);
  return fmt::format("{:.3f} us (quartiles {:.3f} and {:.3f}, {} samples)", t.median_us, t.q1_us,
                     t.q3_us, t.samples);
}

std::string runner_up_text(const StoredWinner& s) {
  if (!s.winner.runner_up) return "none";
  const std::string config = config_text(*s.winner.runner_up);
  if (!s.runner_up) return config;
  const Timing& t = s.runner_up->timing;
  return fmt::format("{}: {}, {:+.1f} %", config, quartile_text(t),
                     100 * (t.median_us / s.evidence.timing.median_us - 1));
}

/// "unknown" for a figure that is 0.
std::string figure(double value, const char* format) {
  return value == 0 ? "unknown" : fmt::format(fmt::runtime(format), value);
}

}  // namespace

std::vector<StoredWinner> stored_winners(TuningDb& database, const DbRequest& request) {
  const TuningDb::Reading reading(database);
  std::map<int64_t, RunRecord> runs;
  for (RunRecord& run : database.runs()) runs.emplace(run.id, std::move(run));
  const std::vector<Measurement> rows = database.measurements();
  std::map<int64_t, const Measurement*> by_id;
  for (const Measurement& row : rows) by_id[row.id] = &row;
  std::vector<StoredWinner> found;
  for (Winner& winner : database.winners()) {
    if (!admits(request, winner)) continue;
    const Measurement& evidence = *by_id.at(winner.evidence);
    StoredWinner stored{std::move(winner), evidence, runs.at(evidence.run), std::nullopt};
    for (const Measurement& row : rows) {
      if (row.run != evidence.run || row.verdict != Verdict::ok || row.m != evidence.m ||
          row.policy != evidence.policy || row.problem != evidence.problem ||
          stored.winner.runner_up != row.kernel.config) {
        continue;
      }
      const bool better =
          !stored.runner_up || row.timing.samples >= stored.runner_up->timing.samples;
      if (better) stored.runner_up = row;
    }
    found.push_back(std::move(stored));
  }
  std::stable_sort(found.begin(), found.end(), [](const StoredWinner& a, const StoredWinner& b) {
    return order(a) < order(b);
  });
  return found;
}

Table list_table(const std::vector<StoredWinner>& winners) {
  Table table;
  table.columns = columns_and({{"m_lo", "for M from"},
                               {"m_hi", "to"},
                               {"us", "us", 2},
                               {"gbps", "GB/s", 0},
                               {"f", "F", 3},
                               {"provenance", "provenance"},
                               {"origin", "origin"},
                               {"config", "config"}});
  for (const StoredWinner& stored : winners) table.rows.push_back(winner_row(stored));
  return table;
}

Table show_table(const StoredWinner& s) {
  const Winner& w = s.winner;
  const Measurement& e = s.evidence;
  Table table;
  table.facts["winner"] = winner_row(s);
  table.facts["samples_us"] = e.samples_us;
  table.columns = {{"fact", "fact"}, {"value", "value"}};
  const auto row = [&](const char* fact, const std::string& value) {
    table.rows.push_back({{"fact", fact}, {"value", value}});
  };
  row("problem", key_text(w.problem));
  row("device", fmt::format("{}, {} SMs", s.run.device_name, w.device.sm_count));
  row("policy", std::string(name(w.policy)));
  row("for M", fmt::format("{}..{}, tuned at {}", w.interval.lo, w.interval.hi, w.m_tuned));
  row("config", config_text(w.config));
  row("origin", w.origin == WinnerOrigin::tuned
                    ? "tuned"
                    : "imported: a hint, which answers no lookup until it is tuned here");
  row("time", fmt::format("{}, {}", quartile_text(e.timing), name(w.provenance)));
  if (e.samples_us.empty()) {
    row("raw samples", "not kept");
  } else {
    const Quartiles q = quartiles(e.samples_us);
    row("raw samples", fmt::format("{} kept, quartiles {:.3f}, {:.3f}, {:.3f} us",
                                   e.samples_us.size(), q.q1, q.median, q.q3));
  }
  row("rate", fmt::format("{:.0f} GB/s, {:.1f} % of the long read, {:.1f} TFLOP/s, F = {:.3f}",
                          e.timing.gbps, e.timing.pct_ceiling, e.timing.tflops, e.timing.f));
  row("ceilings",
      fmt::format("long read {}, one launch {}, tensor cores {}",
                  figure(s.run.stream_gbps, "{:.0f} GB/s"), figure(e.timing.launch_us, "{:.2f} us"),
                  figure(s.run.tensor_tflops, "{:.0f} TFLOP/s")));
  row("clock", fmt::format("{}{}, {}", figure(e.timing.clock_mhz, "{:.0f} MHz"),
                           e.timing.throttled ? ", throttled" : "",
                           figure(e.timing.temperature_c, "{:.0f} C")));
  row("runner-up", runner_up_text(s));
  row("regret bound", w.regret_bound ? fmt::format("{:.1f} %", 100 * *w.regret_bound)
                                     : "not probed inside the interval");
  row("gate", fmt::format("{}: {}", name(e.verdict), e.text));
  row("kernel", fmt::format("{} registers, {} bytes of shared memory, {} bytes spilt",
                            e.kernel.registers, e.kernel.smem_bytes, e.kernel.spill_bytes));
  row("machine code", w.code_hash.empty() ? "unknown" : w.code_hash);
  row("toolchain",
      fmt::format("NVRTC {}, driver {}{}, templates {:.12}", e.toolchain.nvrtc, e.toolchain.driver,
                  s.run.driver_release.empty() ? "" : " (" + s.run.driver_release + ")",
                  e.toolchain.template_digest));
  row("program", s.run.source_commit.empty() ? "unknown" : s.run.source_commit);
  row("run",
      fmt::format("{} of {}, seed {}: {}", s.run.id,
                  s.run.date.empty() ? "unknown date" : s.run.date, s.run.seed, s.run.command));
  row("reproduce", reproduce(s));
  return table;
}

Table diff_table(const std::vector<StoredWinner>& a, const std::vector<StoredWinner>& b) {
  Table table;
  table.columns = columns_and({{"us_a", "us in A", 2},
                               {"us_b", "in B", 2},
                               {"ratio", "B / A", 3},
                               {"difference", "difference"},
                               {"reason", "reason"},
                               {"config_a", "config of A"},
                               {"config_b", "of B"}});
  using Pair = std::pair<const StoredWinner*, const StoredWinner*>;
  std::map<decltype(order(a.front())), Pair> pairs;
  for (const StoredWinner& stored : a) pairs[order(stored)].first = &stored;
  for (const StoredWinner& stored : b) pairs[order(stored)].second = &stored;
  int alike = 0;
  for (const auto& [key, pair] : pairs) {
    const auto [left, right] = pair;
    const StoredWinner& any = left != nullptr ? *left : *right;
    const auto us = [](const StoredWinner* s) {
      return s == nullptr ? Json(nullptr) : Json(s->evidence.timing.median_us);
    };
    const auto config = [](const StoredWinner* s) {
      return s == nullptr ? Json(nullptr) : Json(config_text(s->winner.config));
    };
    std::string difference = left == nullptr ? "only in B" : right == nullptr ? "only in A" : "";
    Judgement judged;
    if (difference.empty()) {
      judged = judge_times(left->evidence, right->evidence, NoiseFloor().at(any.winner.m_tuned));
      difference = name(judged.change);
      if (left->winner.config != right->winner.config) difference += ", other config";
      if (left->winner.interval != right->winner.interval) difference += ", other interval";
    }
    alike += difference == "same";
    if (difference == "same") continue;
    table.rows.push_back({{"device", any.run.device_name},
                          {"n", any.winner.problem.n},
                          {"k", any.winner.problem.k},
                          {"experts", any.winner.problem.experts},
                          {"act", name(any.winner.problem.act)},
                          {"policy", name(any.winner.policy)},
                          {"provenance", name(any.winner.provenance)},
                          {"m", any.winner.m_tuned},
                          {"us_a", us(left)},
                          {"us_b", us(right)},
                          {"ratio", known(judged.ratio)},
                          {"difference", difference},
                          {"reason", judged.reason},
                          {"config_a", config(left)},
                          {"config_b", config(right)}});
  }
  table.facts["alike"] = alike;
  table.notes.push_back(fmt::format("{} alike, {} different", alike, table.rows.size()));
  return table;
}

}  // namespace nvfp4
