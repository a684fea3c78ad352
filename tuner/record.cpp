// SPDX-License-Identifier: Apache-2.0
// One transaction a run.
#include "tuner/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "generator/config_text.h"
#include "tuner/document_reader.h"
#include "tuner/rows.h"

namespace nvfp4 {
namespace {

Ceilings ceilings_of(const SuiteResults& results, const SuiteRow& row) {
  const SuiteCeilings& c = results.ceilings;
  const auto read = c.read_us.find(packed_bytes(row.n, row.k));
  return {.stream_bytes_per_s = c.read_gbps * 1e9,
          .launch_seconds = read == c.read_us.end() ? 0 : read->second * 1e-6,
          .tensor_flops = c.tflops() * 1e12,
          .modelled = results.modelled};
}

Problem problem_of(const SuiteRow& row, const DeviceKey& device) {
  return {.n = row.n, .k = row.k, .act = row.act, .arch = device.arch};
}

// Older files hold a time and nothing else: no samples, no clock, no machine code.
std::optional<SuiteEvidence> evidence_of(const SuiteAnswer& answer) {
  if (answer.evidence) return answer.evidence;
  const std::optional<KernelConfig> config = parse_config(answer.config);
  if (!config || !answer.us) return std::nullopt;
  return SuiteEvidence{
      .kernel = {.config = *config},
      .timing = {.median_us = *answer.us, .q1_us = *answer.us, .q3_us = *answer.us}};
}

std::optional<Measurement> measurement_of(const SuiteResults& results, const SuiteRow& row,
                                          const SuiteAnswer& answer, Policy policy,
                                          const DeviceKey& device) {
  std::optional<SuiteEvidence> evidence = evidence_of(answer);
  if (!evidence) return std::nullopt;
  Measurement m{.kernel = evidence->kernel,
                .problem = problem_of(row, device),
                .m = row.m,
                .policy = policy,
                .provenance = results.modelled ? Provenance::modelled : Provenance::measured,
                .verdict = evidence->verdict,
                .text = answer.note,
                .timing = evidence->timing,
                .samples_us = std::move(evidence->samples_us),
                .device = device,
                .purpose = Purpose::bench};
  if (m.verdict == Verdict::ok) {
    derive_figures(m.timing, m.problem, m.m, ceilings_of(results, row));
  }
  return m;
}

RunRecord run_of(const SuiteResults& results) {
  Toolchain toolchain = results.toolchain;
  toolchain.nvrtc = results.nvrtc;
  return {.device = card_of(results),
          .device_name = results.card,
          .toolchain = std::move(toolchain),
          .command = results.command,
          .date = results.date,
          .seed = results.seed,
          .purpose = Purpose::bench,
          .source_commit = results.commit == "unknown" ? "" : results.commit,
          .driver_release = results.driver,
          .stream_gbps = results.ceilings.read_gbps,
          .tensor_tflops = results.ceilings.tflops()};
}

}  // namespace

DeviceKey card_of(const SuiteResults& results) {
  if (results.device) return *results.device;
  for (const KnownPart& part : known_parts()) {
    if (part.device.name != results.card || results.modelled) continue;
    DeviceKey card = key_of(part.device);
    card.emulated = false;
    return card;
  }
  throw DocumentError(
      fmt::format("it does not say what '{}' is, and no part of that name is known", results.card));
}

std::vector<Measurement> measurements_of(const SuiteResults& results) {
  const DeviceKey device = card_of(results);
  std::vector<Measurement> rows;
  for (const SuiteRow& row : results.rows) {
    const auto add = [&](const SuiteAnswer& answer, Policy policy) {
      if (auto m = measurement_of(results, row, answer, policy, device)) rows.push_back(*m);
    };
    add(row.graph, Policy::graph);
    if (row.pdl) add(*row.pdl, Policy::graph_pdl);
  }
  return rows;
}

int64_t record(TuningDb& db, const SuiteResults& results) {
  const std::vector<Measurement> rows = measurements_of(results);
  TuningDb::Batch batch(db);
  const RunRecord run = run_of(results);
  const int64_t id = db.add_run(run);
  db.add(id, rows);
  for (const SuiteRow& row : results.rows) {
    if (!row.us_cublas) continue;
    const SuiteSpread& spread = row.cublas_spread;
    db.add(Rival{.run = id,
                 .problem = problem_of(row, run.device),
                 .m = row.m,
                 .policy = Policy::graph,
                 .name = "cublas_bf16",
                 .median_us = *row.us_cublas,
                 .q1_us = spread.samples > 0 ? spread.q1_us : *row.us_cublas,
                 .q3_us = spread.samples > 0 ? spread.q3_us : *row.us_cublas,
                 .samples = spread.samples});
  }
  batch.commit();
  return id;
}

int64_t recorded_run(TuningDb& db, const SuiteResults& results) {
  const RunRecord run = run_of(results);
  for (const RunRecord& other : db.runs()) {
    if (other.purpose == Purpose::bench && other.device == run.device && other.date == run.date &&
        other.command == run.command && other.source_commit == run.source_commit) {
      return other.id;
    }
  }
  return 0;
}

}  // namespace nvfp4
