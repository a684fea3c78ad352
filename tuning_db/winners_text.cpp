// SPDX-License-Identifier: Apache-2.0
#include "tuning_db/winners_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <tuple>
#include <vector>

#include "generator/config_text.h"
#include "tuning_db/codec.h"

namespace nvfp4 {
namespace {

constexpr std::string_view kTitle = "# NVFP4 winners, version 1";
constexpr std::string_view kColumns =
    "n,k,act,policy,m_lo,m_hi,m,us,us_q1,us_q3,samples,gbps,pct_ceiling,tflops,f,clock_mhz,"
    "registers,smem_bytes,code_hash,nvrtc,driver,template_digest,config";
constexpr size_t kFields = 23;
constexpr size_t kCodeHash = 18;  // the first of the texts
constexpr size_t kConfig = 22;
// The source is not in the text: what was run is the machine code, and its hash is.
const std::string kUnknownSource(64, '0');

struct Line {
  std::string_view text;
  std::string_view name;
  int number = 0;

  std::string place() const { return fmt::format("{}:{}", name, number); }
  [[noreturn]] void refuse(const std::string& why) const {
    throw DatabaseError(fmt::format("{}: {}", place(), why));
  }
};

template <class Number>
Number number_of(std::string_view text, const Line& line) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    line.refuse(fmt::format("'{}' is no number", text));
  }
  return value;
}

/// The fields of a row: separated by commas, the last one in quotes.
std::vector<std::string_view> fields_of(const Line& line) {
  std::vector<std::string_view> fields;
  std::string_view rest = line.text;
  while (fields.size() + 1 < kFields) {
    const size_t comma = rest.find(',');
    if (comma == rest.npos) break;
    fields.push_back(rest.substr(0, comma));
    rest.remove_prefix(comma + 1);
  }
  if (rest.size() < 2 || !rest.starts_with('"') || !rest.ends_with('"') ||
      fields.size() + 1 != kFields) {
    line.refuse(fmt::format("not {} fields, the last of them quoted", kFields));
  }
  fields.push_back(rest.substr(1, rest.size() - 2));
  return fields;
}

using ParsedRow = ParsedWinners::Row;

ParsedRow row_of(const Line& line, const Device& device) {
  const std::vector<std::string_view> f = fields_of(line);
  const auto integer = [&](size_t i) { return number_of<int64_t>(f[i], line); };
  const auto real = [&](size_t i) { return number_of<double>(f[i], line); };
  const auto small = [&](size_t i) { return number_of<int>(f[i], line); };
  const std::optional<Activation> act = parse_activation(f[2]);
  const std::optional<Policy> policy = parse_policy(f[3]);
  const std::optional<KernelConfig> config = parse_config(f[22]);
  if (!act) line.refuse(fmt::format("'{}' is no activation type", f[2]));
  if (!policy) line.refuse(fmt::format("'{}' is no launch policy", f[3]));
  if (!config) line.refuse(fmt::format("'{}' is no config", f[22]));

  for (size_t i = kCodeHash; i < kConfig; ++i) {
    if (clean_text(f[i], kShortText) != f[i]) line.refuse("a text is too long or not clean");
  }
  ParsedRow row{.place = line.place()};
  row.run = {.device = key_of(device),
             .device_name = device.name,
             .toolchain = {std::string(f[19]), std::string(f[20]), std::string(f[21])},
             .command = "made of text"};
  Measurement& m = row.winner.evidence;
  m.kernel = {.config = *config,
              .source_hash = kUnknownSource,
              .code_hash = std::string(f[18]),
              .registers = small(16),
              .smem_bytes = small(17)};
  m.problem = {.n = integer(0), .k = integer(1), .act = *act, .arch = device.arch};
  m.m = integer(6);
  m.policy = *policy;
  m.device = row.run.device;
  m.toolchain = row.run.toolchain;
  m.timing = {.median_us = real(7),
              .q1_us = real(8),
              .q3_us = real(9),
              .samples = small(10),
              .gbps = real(11),
              .pct_ceiling = real(12),
              .tflops = real(13),
              .f = real(14),
              .clock_mhz = real(15)};
  if (const auto error = record_error(m)) line.refuse(*error);

  Winner& w = row.winner.winner;
  w.device = m.device;
  w.problem = m.problem;
  w.policy = m.policy;
  w.interval = {integer(4), integer(5)};
  w.m_tuned = m.m;
  w.config = *config;
  if (const auto error = record_error(w)) line.refuse(*error);
  return row;
}

/// Reads the lines that name the card's facts; `line` is left at the columns.
class Text {
 public:
  Text(std::string_view text, std::string_view name) : rest_(text), line_{.name = name} {}

  bool next() {
    do {
      if (rest_.empty()) return false;
      const size_t end = rest_.find('\n');
      line_.text = rest_.substr(0, end);
      rest_.remove_prefix(end == rest_.npos ? rest_.size() : end + 1);
      ++line_.number;
    } while (line_.text.empty() || (line_.number > 1 && line_.text.starts_with('#')));
    return true;
  }

  const Line& line() const { return line_; }

  std::string_view fact(std::string_view key) {
    const std::string prefix = fmt::format("{} = ", key);
    if (!next() || !line_.text.starts_with(prefix)) {
      line_.refuse(fmt::format("'{}...' is missing", prefix));
    }
    return line_.text.substr(prefix.size());
  }

 private:
  std::string_view rest_;
  Line line_;
};

Device device_of(Text& text) {
  if (!text.next() || text.line().text != kTitle) {
    text.line().refuse(fmt::format("does not begin with '{}'", kTitle));
  }
  Device device{.name = "a card that winners were shipped for"};
  const std::optional<Arch> arch = parse_arch(text.fact("arch"));
  if (!arch) text.line().refuse("unknown arch");
  device.arch = *arch;
  device.sm_count = number_of<int>(text.fact("sm_count"), text.line());
  device.l2_bytes = number_of<int64_t>(text.fact("l2_bytes"), text.line());
  device.smem_per_block = number_of<int>(text.fact("smem_per_block"), text.line());
  device.memory_bandwidth = 100e9 * number_of<int>(text.fact("bandwidth_class"), text.line());
  if (const auto error = record_error(key_of(device))) text.line().refuse(*error);
  return device;
}

auto sort_key(const Winner& w) {
  return std::tuple(w.problem.n, w.problem.k, w.problem.act, w.policy, w.m_tuned);
}

}  // namespace

std::string winners_text(TuningDb& database) {
  std::vector<Winner> winners = database.winners();
  std::erase_if(winners, [](const Winner& w) {
    return w.device.emulated || w.provenance != Provenance::measured ||
           w.origin == WinnerOrigin::imported || w.problem.kind != ProblemKind::dense;
  });
  if (winners.empty()) throw DatabaseError("no dense winner was measured on a real card");
  const DeviceKey key = winners.front().device;
  for (const Winner& winner : winners) {
    if (winner.device != key) throw DatabaseError("the winners are of several cards");
  }
  std::sort(winners.begin(), winners.end(),
            [](const Winner& a, const Winner& b) { return sort_key(a) < sort_key(b); });
  std::map<int64_t, Measurement> evidence;
  for (Measurement& row : database.measurements()) evidence[row.id] = std::move(row);

  std::string text = fmt::format(
      "{}\narch = {}\nsm_count = {}\nl2_bytes = {}\nsmem_per_block = {}\n"
      "bandwidth_class = {}\n{}\n",
      kTitle, sm_name(key.arch), key.sm_count, key.l2_bytes, key.smem_per_block,
      key.bandwidth_class, kColumns);
  for (const Winner& w : winners) {
    const Measurement& m = evidence.at(w.evidence);
    const Timing& t = m.timing;
    text += fmt::format(
        "{},{},{},{},{},{},{},{:.3f},{:.3f},{:.3f},{},{:.0f},{:.1f},{:.1f},{:.3f},{:.0f},{},{},{},"
        "{},{},{},\"{}\"\n",
        w.problem.n, w.problem.k, name(w.problem.act), name(w.policy), w.interval.lo, w.interval.hi,
        w.m_tuned, t.median_us, t.q1_us, t.q3_us, t.samples, t.gbps, t.pct_ceiling, t.tflops, t.f,
        t.clock_mhz, m.kernel.registers, m.kernel.smem_bytes, m.kernel.code_hash, m.toolchain.nvrtc,
        m.toolchain.driver, m.toolchain.template_digest, config_text(w.config));
  }
  return text;
}

ParsedWinners parse_winners_text(std::string_view text, std::string_view name) {
  Text lines(text, name);
  const Device device = device_of(lines);
  if (!lines.next() || lines.line().text != kColumns) {
    lines.line().refuse(fmt::format("the columns are not {}", kColumns));
  }
  ParsedWinners parsed;
  while (lines.next()) {
    try {
      parsed.rows.push_back(row_of(lines.line(), device));
    } catch (const DatabaseError& error) {
      parsed.defects.emplace_back(error.what());
    }
  }
  if (parsed.rows.empty() && parsed.defects.empty()) lines.line().refuse("no winner");
  return parsed;
}

int64_t add_winners_text(TuningDb& database, std::string_view text, std::string_view name) {
  ParsedWinners parsed = parse_winners_text(text, name);
  if (!parsed.defects.empty()) throw DatabaseError(parsed.defects.front());
  TuningDb::Batch batch(database);
  std::map<std::tuple<std::string, std::string, std::string>, int64_t> runs;
  for (ParsedRow& row : parsed.rows) {
    const Toolchain& tools = row.run.toolchain;
    int64_t& run = runs[{tools.nvrtc, tools.driver, tools.template_digest}];
    if (run == 0) run = database.add_run(row.run);
    Winner& winner = row.winner.winner;
    winner.evidence = database.add(run, row.winner.evidence);
    database.store(winner);
  }
  batch.commit();
  return static_cast<int64_t>(parsed.rows.size());
}

}  // namespace nvfp4
