// SPDX-License-Identifier: Apache-2.0
#include "tuning_db/codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <climits>

#include "generator/config_text.h"

namespace nvfp4 {
namespace {

constexpr size_t kLongText = 2048;  // commands, reasons
constexpr size_t kMaxSamples = 4096;

std::string text(RowReader& row, size_t limit) {
  std::string value = row.text();
  if (clean_text(value, limit) != value) throw BadRow{"text is too long or not clean"};
  return value;
}

int small(RowReader& row) { return static_cast<int>(row.integer(INT_MIN, INT_MAX)); }

template <typename T>
T known(std::optional<T> value, const char* what) {
  if (!value) throw BadRow{fmt::format("unknown {}", what)};
  return *std::move(value);
}

template <typename T>
const T& refer(const std::map<int64_t, T>& rows, int64_t id, const char* table) {
  const auto found = rows.find(id);
  if (found == rows.end()) throw BadRow{fmt::format("{} row {} is missing or bad", table, id)};
  return found->second;
}

template <typename Record>
Record valid(Record record) {
  if (const auto error = record_error(record)) throw BadRow{*error};
  return record;
}

Blob pack_floats(const std::vector<float>& values) {
  Blob blob;
  for (size_t i = 0; i < std::min(values.size(), kMaxSamples); ++i) {
    const auto bits = std::bit_cast<uint32_t>(values[i]);
    for (int shift = 0; shift < 32; shift += 8) blob.bytes += static_cast<char>(bits >> shift);
  }
  return blob;
}

std::vector<float> unpack_floats(const std::string& bytes) {
  if (bytes.size() % 4 != 0 || bytes.size() / 4 > kMaxSamples) throw BadRow{"bad sample blob"};
  std::vector<float> values(bytes.size() / 4);
  for (size_t i = 0; i < values.size(); ++i) {
    uint32_t bits = 0;
    for (int byte = 3; byte >= 0; --byte) {
      bits = bits << 8 | static_cast<unsigned char>(bytes[i * 4 + byte]);
    }
    values[i] = std::bit_cast<float>(bits);
  }
  return values;
}

/// Length of the UTF-8 sequence at the head of `text`, 0 when there is none.
size_t utf8_length(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 0;
  }
  const auto second = static_cast<unsigned char>(text[1]);
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool beyond = (lead == 0xed && second > 0x9f) || (lead == 0xf4 && second > 0x8f);
  return overlong || beyond ? 0 : length;
}

/// Whether a character changes what a terminal shows around it: controls but for line breaks and
/// tabs, those of C1 too, and marks of direction or of no width.
bool hidden(std::string_view c) {
  if (c.size() == 1)
    return (c[0] >= 0 && c[0] < ' ' && c[0] != '\n' && c[0] != '\t') || c[0] == 0x7f;
  if (c.size() == 2) return (c[0] == '\xc2' && c[1] < '\xa0') || c == "\u061c";
  if (c.size() != 3) return false;
  return (c >= "\u200b" && c <= "\u200f") || (c >= "\u2028" && c <= "\u202e") ||
         (c >= "\u2060" && c <= "\u206f") || c == "\ufeff";
}

}  // namespace

std::string clean_text(std::string_view text, size_t limit) {
  std::string clean;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const size_t taken = length == 0 ? 1 : length;
    if (clean.size() + taken > limit) break;
    if (length == 0 || hidden(text.substr(0, length))) {
      clean += '?';
    } else {
      clean += text.substr(0, taken);
    }
    text.remove_prefix(taken);
  }
  return clean;
}

Row encode(const DeviceKey& d) {
  return {sm_name(d.arch),           int64_t{d.sm_count},        d.l2_bytes,
          int64_t{d.smem_per_block}, int64_t{d.bandwidth_class}, int64_t{d.emulated}};
}

DeviceKey decode_device(RowReader row) {
  DeviceKey d;
  d.arch = known(parse_arch(row.text()), "arch");
  d.sm_count = small(row);
  d.l2_bytes = row.integer();
  d.smem_per_block = small(row);
  d.bandwidth_class = small(row);
  d.emulated = row.boolean();
  return valid(d);
}

Row encode(const Toolchain& t) {
  return {clean_text(t.nvrtc, kShortText), clean_text(t.driver, kShortText),
          clean_text(t.template_digest, kShortText)};
}

Toolchain decode_toolchain(RowReader row) {
  Toolchain t;
  t.nvrtc = text(row, kShortText);
  t.driver = text(row, kShortText);
  t.template_digest = text(row, kShortText);
  return t;
}

Row encode(const Problem& p) {
  return {std::string(name(p.kind)), int64_t{p.layout}, p.n,      p.k,
          std::string(name(p.act)),  sm_name(p.arch),   p.experts};
}

Problem decode_problem(RowReader row) {
  Problem p;
  p.kind = known(parse_problem_kind(row.text()), "kind");
  p.layout = small(row);
  p.n = row.integer();
  p.k = row.integer();
  p.act = known(parse_activation(row.text()), "act");
  p.arch = known(parse_arch(row.text()), "arch");
  p.experts = row.integer();
  if (const auto error = shape_error(p)) throw BadRow{*error};
  return p;
}

Row encode(const KernelRecord& k) {
  return {config_text(k.config),
          clean_text(k.source_hash, kShortText),
          clean_text(k.code_hash, kShortText),
          int64_t{k.registers},
          int64_t{k.spill_bytes},
          int64_t{k.smem_bytes}};
}

KernelRecord decode_kernel(RowReader row) {
  KernelRecord k;
  k.config = decode_config(row.text());
  k.source_hash = text(row, kShortText);
  k.code_hash = text(row, kShortText);
  k.registers = small(row);
  k.spill_bytes = small(row);
  k.smem_bytes = small(row);
  return k;
}

Row encode(const RunRecord& r, const RunIds& ids) {
  return {ids.device,
          ids.toolchain,
          clean_text(r.device_name, kShortText),
          clean_text(r.command, kLongText),
          clean_text(r.date, kShortText),
          static_cast<int64_t>(r.seed),
          std::string(name(r.purpose)),
          clean_text(r.source_commit, kShortText),
          clean_text(r.driver_release, kShortText),
          r.stream_gbps,
          r.tensor_tflops};
}

RunRecord decode_run(RowReader row, int64_t id, const References& references) {
  RunRecord r;
  r.id = id;
  r.device = refer(references.devices, row.integer(), "device");
  r.toolchain = refer(references.toolchains, row.integer(), "toolchain");
  r.device_name = text(row, kShortText);
  r.command = text(row, kLongText);
  r.date = text(row, kShortText);
  r.seed = static_cast<uint64_t>(row.integer());
  r.purpose = known(parse_purpose(row.text()), "purpose");
  r.source_commit = text(row, kShortText);
  r.driver_release = text(row, kShortText);
  r.stream_gbps = row.real();
  r.tensor_tflops = row.real();
  return valid(std::move(r));
}

Row encode(const Measurement& r, const MeasurementIds& ids) {
  const Timing& t = r.timing;
  return {ids.run,
          ids.kernel,
          ids.problem,
          r.m,
          std::string(name(r.policy)),
          std::string(name(r.provenance)),
          std::string(name(r.verdict)),
          clean_text(r.text, kLongText),
          t.median_us,
          t.q1_us,
          t.q3_us,
          int64_t{t.samples},
          t.gbps,
          t.pct_ceiling,
          t.tflops,
          t.f,
          t.clock_mhz,
          int64_t{t.throttled},
          pack_floats(r.samples_us),
          t.launch_us,
          t.temperature_c};
}

Measurement decode_measurement(RowReader row, int64_t id, const References& references) {
  Measurement r;
  r.id = id;
  r.run = row.integer();
  const RunRecord& run = refer(references.runs, r.run, "run");
  r.device = run.device;
  r.toolchain = run.toolchain;
  r.purpose = run.purpose;
  r.kernel = refer(references.kernels, row.integer(), "kernel");
  r.problem = refer(references.problems, row.integer(), "problem");
  r.m = row.integer();
  r.policy = known(parse_policy(row.text()), "policy");
  r.provenance = known(parse_provenance(row.text()), "provenance");
  r.verdict = known(parse_verdict(row.text()), "verdict");
  r.text = text(row, kLongText);
  Timing& t = r.timing;
  t.median_us = row.real();
  t.q1_us = row.real();
  t.q3_us = row.real();
  t.samples = small(row);
  t.gbps = row.real();
  t.pct_ceiling = row.real();
  t.tflops = row.real();
  t.f = row.real();
  t.clock_mhz = row.real();
  t.throttled = row.boolean();
  r.samples_us = unpack_floats(row.blob());
  t.launch_us = row.real();
  t.temperature_c = row.real();
  return valid(std::move(r));
}

Row encode(const Winner& w, const WinnerIds& ids) {
  return {ids.device,
          ids.problem,
          std::string(name(w.policy)),
          std::string(name(w.provenance)),
          w.interval.lo,
          w.interval.hi,
          w.m_tuned,
          config_text(w.config),
          w.runner_up ? Value(config_text(*w.runner_up)) : Value(),
          w.regret_bound ? Value(*w.regret_bound) : Value(),
          w.evidence,
          std::string(name(w.origin))};
}

Winner decode_winner(RowReader row, const References& references) {
  Winner w;
  w.device = refer(references.devices, row.integer(), "device");
  w.problem = refer(references.problems, row.integer(), "problem");
  w.policy = known(parse_policy(row.text()), "policy");
  w.provenance = known(parse_provenance(row.text()), "provenance");
  w.interval.lo = row.integer();
  w.interval.hi = row.integer();
  w.m_tuned = row.integer();
  w.config = decode_config(row.text());
  if (!row.null()) w.runner_up = decode_config(row.text());
  if (!row.null()) w.regret_bound = row.real();
  w.evidence = row.integer();
  w.origin = known(parse_origin(row.text()), "origin");
  return valid(std::move(w));
}

Row encode(const Comparison& c, int64_t problem) {
  const auto measurement = [](const std::optional<int64_t>& of) {
    return of ? Value(*of) : Value();
  };
  return {c.base_run,
          c.run,
          problem,
          c.m,
          std::string(name(c.policy)),
          std::string(name(c.question)),
          std::string(name(c.verdict)),
          clean_text(c.reason, kLongText),
          measurement(c.base_measurement),
          measurement(c.measurement),
          c.ratio,
          c.ratio_lo,
          c.ratio_hi,
          c.cycles_ratio};
}

Comparison decode_comparison(RowReader row, int64_t id, const References& references) {
  Comparison c;
  c.id = id;
  c.base_run = row.integer();
  refer(references.runs, c.base_run, "run");
  c.run = row.integer();
  refer(references.runs, c.run, "run");
  c.problem = refer(references.problems, row.integer(), "problem");
  c.m = row.integer();
  c.policy = known(parse_policy(row.text()), "policy");
  c.question = known(parse_question(row.text()), "question");
  c.verdict = known(parse_change(row.text()), "verdict");
  c.reason = text(row, kLongText);
  if (!row.null()) c.base_measurement = row.integer();
  if (!row.null()) c.measurement = row.integer();
  c.ratio = row.real();
  c.ratio_lo = row.real();
  c.ratio_hi = row.real();
  c.cycles_ratio = row.real();
  return valid(std::move(c));
}

Row encode(const ChangePoint& c, int64_t problem) {
  return {problem, c.m,      std::string(name(c.policy)), std::string(name(c.question)), c.run,
          c.ratio, c.p_value};
}

ChangePoint decode_change_point(RowReader row, int64_t id, const References& references) {
  ChangePoint c;
  c.id = id;
  c.problem = refer(references.problems, row.integer(), "problem");
  c.m = row.integer();
  c.policy = known(parse_policy(row.text()), "policy");
  c.question = known(parse_question(row.text()), "question");
  c.run = row.integer();
  refer(references.runs, c.run, "run");
  c.ratio = row.real();
  c.p_value = row.real();
  return valid(std::move(c));
}

Row encode(const Rival& r, int64_t problem) {
  return {
      r.run,       problem, r.m,     std::string(name(r.policy)), clean_text(r.name, kShortText),
      r.median_us, r.q1_us, r.q3_us, int64_t{r.samples}};
}

Rival decode_rival(RowReader row, int64_t id, const References& references) {
  Rival r;
  r.id = id;
  r.run = row.integer();
  refer(references.runs, r.run, "run");
  r.problem = refer(references.problems, row.integer(), "problem");
  r.m = row.integer();
  r.policy = known(parse_policy(row.text()), "policy");
  r.name = text(row, kShortText);
  r.median_us = row.real();
  r.q1_us = row.real();
  r.q3_us = row.real();
  r.samples = small(row);
  return valid(std::move(r));
}

KernelConfig decode_config(const std::string& text) { return known(parse_config(text), "config"); }

}  // namespace nvfp4
