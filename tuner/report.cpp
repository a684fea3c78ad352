// SPDX-License-Identifier: Apache-2.0
// Facts to rows. A modelled time is called modelled in every form.
#include "tuner/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <string>

#include "generator/config_text.h"
#include "generator/cost_model.h"
#include "tuner/table.h"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

Json problem_facts(const Problem& problem, const Device& device) {
  Json facts = {{"device", device.name},
                {"emulated", device.emulated},
                {"arch", sm_name(problem.arch)},
                {"n", problem.n},
                {"k", problem.k},
                {"act", name(problem.act)}};
  if (problem.kind == ProblemKind::grouped) facts["experts"] = problem.experts;
  return facts;
}

// Zero stands for unknown in a timing.
Json known(double value) { return value == 0 ? Json(nullptr) : Json(value); }

Json choice_row(const Choice& choice) {
  const Winner& winner = choice.winner;
  const Measurement& evidence = choice.evidence;
  const Timing& t = evidence.timing;
  return {{"m", evidence.m},
          {"policy", name(evidence.policy)},
          {"us", t.median_us},
          {"us_q1", t.q1_us},
          {"us_q3", t.q3_us},
          {"spread", t.samples > 0 ? Json((t.q3_us - t.q1_us) / t.median_us) : Json(nullptr)},
          {"samples", t.samples},
          {"gbps", t.gbps},
          {"pct_ceiling", t.pct_ceiling},
          {"tflops", t.tflops},
          {"f", t.f},
          {"clock_mhz", known(t.clock_mhz)},
          {"temperature_c", known(t.temperature_c)},
          {"throttled", t.throttled},
          {"provenance", name(evidence.provenance)},
          {"m_lo", winner.interval.lo},
          {"m_hi", winner.interval.hi},
          {"config", config_text(winner.config)},
          {"runner_up", winner.runner_up ? Json(config_text(*winner.runner_up)) : Json(nullptr)},
          {"regret_bound", winner.regret_bound ? Json(*winner.regret_bound) : Json(nullptr)},
          {"registers", evidence.kernel.registers},
          {"smem_bytes", evidence.kernel.smem_bytes},
          {"code_hash", evidence.kernel.code_hash},
          {"gate", fmt::format("{}: {}", name(evidence.verdict), evidence.text)},
          {"evidence", winner.evidence},
          {"answer", choice.answer == Answer::database ? "database" : "this run"}};
}

std::map<std::string, int> count_verdicts(const std::vector<Measurement>& rows) {
  std::map<std::string, int> counts;
  for (const Measurement& row : rows) ++counts[std::string(name(row.verdict))];
  return counts;
}

std::string end_text(const TuneOutcome& outcome) {
  switch (outcome.end) {
    case RunEnd::complete:
      return "complete";
    case RunEnd::out_of_time:
      return "out of time";
    case RunEnd::stopped:
      return "interrupted";
  }
  return {};
}

std::string ceilings_note(const Ceilings& c, bool emulated) {
  return fmt::format(
      "F = T_roof / T; one launch reads these weights in {:.2f} us, a long stream runs "
      "at {:.0f} GB/s ({}); {:.0f} bf16 TFLOP/s are assumed",
      c.launch_seconds * 1e6, c.stream_bytes_per_s / 1e9,
      emulated ? "modelled" : "measured in this run", c.tensor_flops / 1e12);
}

}  // namespace

Table tune_table(const TuneOutcome& outcome, const TuneRequest& request, const Device& device) {
  Table table;
  table.facts = problem_facts(request.problem, device);
  table.facts["end"] = end_text(outcome);
  table.facts["known"] = outcome.known;
  table.facts["verdicts"] = count_verdicts(outcome.rows);
  if (outcome.ceilings.launch_seconds > 0) {
    table.facts["ceilings"] = {{"launch_us", outcome.ceilings.launch_seconds * 1e6},
                               {"stream_gbps", outcome.ceilings.stream_bytes_per_s / 1e9},
                               {"tensor_tflops", outcome.ceilings.tensor_flops / 1e12},
                               {"modelled", outcome.ceilings.modelled}};
    table.notes.push_back(ceilings_note(outcome.ceilings, device.emulated));
  }
  Json candidates = Json::array();
  for (const Measurement& row : outcome.rows) {
    candidates.push_back({{"m", row.m},
                          {"policy", name(row.policy)},
                          {"config", config_text(row.kernel.config)},
                          {"verdict", name(row.verdict)},
                          {"text", row.text},
                          {"us", known(row.timing.median_us)},
                          {"provenance", name(row.provenance)}});
  }
  table.facts["candidates"] = std::move(candidates);
  table.columns = {{"m", "M"},
                   {"policy", "policy"},
                   {"us", "us", 2},
                   {"spread", "q1-q3 %", 1, 100},
                   {"gbps", "GB/s", 0},
                   {"pct_ceiling", "% of read", 1},
                   {"tflops", "TFLOP/s", 1},
                   {"f", "F", 3},
                   {"clock_mhz", "MHz", 0},
                   {"provenance", "provenance"},
                   {"m_lo", "for M from"},
                   {"m_hi", "to"},
                   {"answer", "answer"},
                   {"config", "config"}};
  for (const Choice& choice : outcome.choices) table.rows.push_back(choice_row(choice));

  // One line for each kernel that was gated, whatever came of it.
  std::map<std::pair<int64_t, std::string>, std::string> gates;
  for (const Choice& choice : outcome.choices) {
    const Measurement& row = choice.evidence;
    gates[{row.m, config_text(row.kernel.config)}] =
        fmt::format("{}: {}", name(row.verdict), row.text);
  }
  for (const Measurement& row : outcome.rows) {
    if (!device.emulated && row.verdict == Verdict::ok) continue;
    gates[{row.m, config_text(row.kernel.config)}] =
        fmt::format("{}: {}", name(row.verdict), row.text);
  }
  for (const auto& [key, text] : gates) {
    table.notes.push_back(fmt::format("gate M={} {}  {}", key.first, key.second, text));
  }
  return table;
}

Table lookup_table(std::span<const LookupRow> rows, const Problem& problem, const Device& device) {
  Table table;
  table.facts = problem_facts(problem, device);
  table.columns = {{"m", "M"},
                   {"policy", "policy"},
                   {"layer", "layer"},
                   {"match", "match"},
                   {"m_tuned", "tuned M"},
                   {"provenance", "provenance"},
                   {"expected_us", "expected us", 2},
                   {"f", "F", 3},
                   {"bound", "bound"},
                   {"config", "config"}};
  for (const LookupRow& row : rows) {
    const Selection& s = row.selection;
    table.rows.push_back({{"m", row.m},
                          {"policy", name(row.policy)},
                          {"layer", name(s.layer)},
                          {"match", name(s.match)},
                          {"m_tuned", s.m_tuned == 0 ? Json(nullptr) : Json(s.m_tuned)},
                          {"provenance", name(s.provenance)},
                          {"same_device", s.same_device},
                          {"expected_us", known(s.expected_us)},
                          {"f", known(s.f)},
                          {"bound", estimate(s.config, problem, row.m, device).bound},
                          {"config", config_text(s.config)},
                          {"code_hash", std::string(s.code_hash)},
                          {"evidence", s.evidence == 0 ? Json(nullptr) : Json(s.evidence)}});
  }
  table.notes.push_back("bound: what limits the kernel, by the cost model");
  return table;
}

}  // namespace nvfp4
