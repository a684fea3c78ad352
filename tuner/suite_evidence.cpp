// SPDX-License-Identifier: Apache-2.0
// One entry an answer, named by its problem, M and policy.
#include "tuner/suite_evidence.h"

#include <fmt/format.h>

#include <algorithm>
#include <climits>
#include <nlohmann/json.hpp>
#include <utility>

#include "generator/config_text.h"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostSamples = 4096;  // as many as a database keeps of one time

Json device_json(const DeviceKey& d) {
  return {{"arch", sm_name(d.arch)},
          {"sm_count", d.sm_count},
          {"l2_bytes", d.l2_bytes},
          {"smem_per_block", d.smem_per_block},
          {"bandwidth_class", d.bandwidth_class},
          {"emulated", d.emulated}};
}

DeviceKey read_device(const DocumentReader& in) {
  const std::optional<Arch> arch = parse_arch(in.text("arch"));
  if (!arch) in.refuse("arch", "is no architecture");
  DeviceKey device{.arch = *arch,
                   .sm_count = static_cast<int>(in.integer("sm_count", 0, INT_MAX)),
                   .l2_bytes = in.integer("l2_bytes"),
                   .smem_per_block = static_cast<int>(in.integer("smem_per_block", 0, INT_MAX)),
                   .bandwidth_class = static_cast<int>(in.integer("bandwidth_class", 0, INT_MAX)),
                   .emulated = in.boolean("emulated")};
  if (const auto why = record_error(device)) throw DocumentError(in.where + ": " + *why);
  return device;
}

Json time_json(const SuiteRow& row, Policy policy, const SuiteEvidence& e) {
  return {{"n", row.n},
          {"k", row.k},
          {"m", row.m},
          {"act", name(row.act)},
          {"policy", name(policy)},
          {"verdict", name(e.verdict)},
          {"samples_us", e.samples_us},
          {"q1_us", e.timing.q1_us},
          {"q3_us", e.timing.q3_us},
          {"clock_mhz", e.timing.clock_mhz},
          {"throttled", e.timing.throttled},
          {"temperature_c", e.timing.temperature_c},
          {"source_hash", e.kernel.source_hash},
          {"code_hash", e.kernel.code_hash},
          {"registers", e.kernel.registers},
          {"spill_bytes", e.kernel.spill_bytes},
          {"smem_bytes", e.kernel.smem_bytes}};
}

Json rival_json(const SuiteRow& row) {
  return {{"n", row.n},
          {"k", row.k},
          {"m", row.m},
          {"act", name(row.act)},
          {"q1_us", row.cublas_spread.q1_us},
          {"q3_us", row.cublas_spread.q3_us},
          {"samples", row.cublas_spread.samples}};
}

// The row that an entry speaks of.
SuiteRow& row_of(const DocumentReader& in, SuiteResults& results) {
  const std::optional<Activation> act = parse_activation(in.text("act"));
  if (!act) in.refuse("act", "is not bf16 or fp16");
  const int64_t n = in.integer("n");
  const int64_t k = in.integer("k");
  const int64_t m = in.integer("m");
  const SuiteRow* row = results.find(n, k, m, *act);
  if (row == nullptr) {
    throw DocumentError(fmt::format("{}: no row has N={} K={} M={}", in.where, n, k, m));
  }
  return results.rows[static_cast<size_t>(row - results.rows.data())];
}

// 0 where there is none.
double number_or_zero(const DocumentReader& in, const char* key) {
  const Json& value = in.member(key);
  return value.is_number() && value.get<double>() == 0 ? 0 : in.number(key);
}

std::vector<float> read_samples(const DocumentReader& in) {
  const Json& list = in.list("samples_us");
  if (list.size() > kMostSamples) in.refuse("samples_us", "holds more than 4096 samples");
  std::vector<float> samples;
  for (const Json& sample : list) {
    const double us = sample.is_number() ? sample.get<double>() : 0;
    if (!(us > 0 && us < 1e12)) in.refuse("samples_us", "holds what is no time");
    samples.push_back(static_cast<float>(us));
  }
  return samples;
}

void read_time(const DocumentReader& in, SuiteResults& results) {
  SuiteRow& row = row_of(in, results);
  const bool pdl = in.either("policy", name(Policy::graph_pdl), name(Policy::graph));
  if (pdl && !row.pdl) in.refuse("policy", "is graph+pdl, which the row has no answer for");
  SuiteAnswer& answer = pdl ? *row.pdl : row.graph;
  const std::optional<Verdict> verdict = parse_verdict(in.text("verdict"));
  const std::optional<KernelConfig> config = parse_config(answer.config);
  if (!verdict) in.refuse("verdict", "is no verdict");
  if (!config) return;  // of another version: the time can be shown, not compared
  if ((*verdict == Verdict::ok) != answer.us.has_value()) {
    in.refuse("verdict", "and the time of its row contradict each other");
  }
  SuiteEvidence e{.verdict = *verdict,
                  .kernel = {.config = *config,
                             .source_hash = in.text("source_hash"),
                             .code_hash = in.text("code_hash"),
                             .registers = static_cast<int>(in.integer("registers", 0, 255)),
                             .spill_bytes = static_cast<int>(in.integer("spill_bytes", 0, INT_MAX)),
                             .smem_bytes = static_cast<int>(in.integer("smem_bytes", 0, INT_MAX))},
                  .timing = {.median_us = answer.us.value_or(0),
                             .q1_us = number_or_zero(in, "q1_us"),
                             .q3_us = number_or_zero(in, "q3_us"),
                             .clock_mhz = number_or_zero(in, "clock_mhz"),
                             .throttled = in.boolean("throttled"),
                             .temperature_c = number_or_zero(in, "temperature_c")},
                  .samples_us = read_samples(in)};
  e.timing.samples = static_cast<int>(e.samples_us.size());
  if (e.timing.q1_us > e.timing.median_us || e.timing.median_us > e.timing.q3_us) {
    throw DocumentError(fmt::format("{}: quartiles {} {} {} us are out of order", in.where,
                                    e.timing.q1_us, e.timing.median_us, e.timing.q3_us));
  }
  answer.evidence = std::move(e);
}

void read_rival(const DocumentReader& in, SuiteResults& results) {
  SuiteRow& row = row_of(in, results);
  row.cublas_spread = {.q1_us = in.number("q1_us"),
                       .q3_us = in.number("q3_us"),
                       .samples = static_cast<int>(in.integer("samples", 1, INT_MAX))};
  if (!row.us_cublas || row.cublas_spread.q1_us > *row.us_cublas ||
      *row.us_cublas > row.cublas_spread.q3_us) {
    throw DocumentError(
        fmt::format("{}: the quartiles are not around the time of its row", in.where));
  }
}

}  // namespace

Json evidence_json(const SuiteResults& results) {
  Json times = Json::array();
  Json rivals = Json::array();
  for (const SuiteRow& row : results.rows) {
    if (row.graph.evidence) times.push_back(time_json(row, Policy::graph, *row.graph.evidence));
    if (row.pdl && row.pdl->evidence) {
      times.push_back(time_json(row, Policy::graph_pdl, *row.pdl->evidence));
    }
    if (row.cublas_spread.samples > 0) rivals.push_back(rival_json(row));
  }
  if (!results.device) return nullptr;
  return {{"device", device_json(*results.device)},
          {"cuda_driver", plain_text(results.toolchain.driver)},
          {"template_digest", results.toolchain.template_digest},
          {"seed", results.seed},
          {"times", std::move(times)},
          {"cublas_bf16", std::move(rivals)}};
}

void read_evidence(const DocumentReader& in, SuiteResults& results) {
  results.device = read_device(in.inner("device"));
  results.toolchain = {.nvrtc = results.nvrtc,
                       .driver = in.text("cuda_driver"),
                       .template_digest = in.text("template_digest")};
  const Json& seed = in.member("seed");
  if (!seed.is_number_unsigned()) in.refuse("seed", "is no number of 0 or more");
  results.seed = seed.get<uint64_t>();
  const auto each = [&](const char* key, void (*read)(const DocumentReader&, SuiteResults&)) {
    size_t count = 0;
    for (const Json& entry : in.list(key)) {
      const DocumentReader reader{entry, fmt::format("\"{}\" {}", key, ++count)};
      if (!entry.is_object()) throw DocumentError(reader.where + " is no object");
      read(reader, results);
    }
  };
  each("times", read_time);
  each("cublas_bf16", read_rival);
}

}  // namespace nvfp4
