// SPDX-License-Identifier: Apache-2.0
#include "tuning_db/winners_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <tuple>
#include <vector>

#include "generator/config_text.h"
#include "tuning_db/codec.h"

namespace nvfp4 {
namespace {

constexpr std::string_view kTitle = "# NVFP4 winners, version 1";
enum Column : size_t {
  kN,
  kK,
  kExperts,
  kAct,
  kPolicy,
  kLo,
  kHi,
  kM,
  kUs,
  kQ1,
  kQ3,
  kSamples,
  kGbps,
  kCeiling,
  kTflops,
  kF,
  kClock,
  kRegisters,
  kSmem,
  kCodeHash,
  kNvrtc,
  kDriver,
  kTemplates,
  kConfig,
  kColumns
};
constexpr std::array<std::string_view, kColumns> kNames = {
    "n",          "k",           "experts", "act",    "policy",          "m_lo",
    "m_hi",       "m",           "us",      "us_q1",  "us_q3",           "samples",
    "gbps",       "pct_ceiling", "tflops",  "f",      "clock_mhz",       "registers",
    "smem_bytes", "code_hash",   "nvrtc",   "driver", "template_digest", "config"};

constexpr std::string_view kUnnamedCard = "a card that winners were shipped for";
constexpr size_t kShown = 64;            // bytes of a stranger's text in a message
constexpr size_t kMostDefects = 10'000;  // lines so bad that the rest is not worth the time
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

/// A stranger's text fit for a message.
std::string quoted(std::string_view text) {
  return fmt::format("'{}{}'", clean_text(text, kShown), text.size() > kShown ? "..." : "");
}

template <class Number>
Number number_of(std::string_view text, const Line& line) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    line.refuse(quoted(text) + " is no number");
  }
  return value;
}

/// The columns that a line names, in its order. Only the experts of dense winners can be left out.
std::vector<Column> columns_of(const Line& line) {
  std::vector<Column> columns;
  std::array<int, kColumns> named{};
  std::string_view rest = line.text;
  for (size_t comma = 0; comma != rest.npos;) {
    comma = rest.find(',');
    const std::string_view name = rest.substr(0, comma);
    const auto column =
        static_cast<size_t>(std::find(kNames.begin(), kNames.end(), name) - kNames.begin());
    if (column == kColumns) line.refuse("unknown column " + quoted(name));
    if (named[column]++ > 0) line.refuse(fmt::format("column '{}' is there twice", name));
    columns.push_back(static_cast<Column>(column));
    if (comma != rest.npos) rest.remove_prefix(comma + 1);
  }
  for (size_t column = 0; column < kColumns; ++column) {
    if (named[column] > 0 || column == kExperts) continue;
    line.refuse(fmt::format("column '{}' is missing", kNames[column]));
  }
  if (columns.back() != kConfig) line.refuse("column 'config' is not the last");
  return columns;
}

/// What a row has in each column.
using Fields = std::array<std::string_view, kColumns>;

/// Fields are separated by commas, the last one is in quotes.
Fields fields_of(const Line& line, const std::vector<Column>& columns) {
  Fields fields;
  fields[kExperts] = "0";
  std::string_view rest = line.text;
  size_t found = 0;
  for (; found + 1 < columns.size(); ++found) {
    const size_t comma = rest.find(',');
    if (comma == rest.npos) break;
    fields[columns[found]] = rest.substr(0, comma);
    rest.remove_prefix(comma + 1);
  }
  if (rest.size() < 2 || !rest.starts_with('"') || !rest.ends_with('"') ||
      found + 1 != columns.size()) {
    line.refuse(fmt::format("not {} fields, the last of them quoted", columns.size()));
  }
  fields[kConfig] = rest.substr(1, rest.size() - 2);
  return fields;
}

/// The numbers of a row.
Timing timing_of(const Fields& f, const Line& line) {
  const auto real = [&](Column column) { return number_of<double>(f[column], line); };
  return {.median_us = real(kUs),
          .q1_us = real(kQ1),
          .q3_us = real(kQ3),
          .samples = number_of<int>(f[kSamples], line),
          .gbps = real(kGbps),
          .pct_ceiling = real(kCeiling),
          .tflops = real(kTflops),
          .f = real(kF),
          .clock_mhz = real(kClock)};
}

Problem problem_of(const Fields& f, const Line& line, const Device& device) {
  const std::optional<Activation> act = parse_activation(f[kAct]);
  if (!act) line.refuse(quoted(f[kAct]) + " is no activation type");
  const auto experts = number_of<int64_t>(f[kExperts], line);
  return {.kind = experts == 0 ? ProblemKind::dense : ProblemKind::grouped,
          .n = number_of<int64_t>(f[kN], line),
          .k = number_of<int64_t>(f[kK], line),
          .act = *act,
          .arch = device.arch,
          .experts = experts};
}

using ParsedRow = ParsedWinners::Row;

ParsedRow row_of(const Line& line, const std::vector<Column>& columns, const Device& device) {
  const Fields f = fields_of(line, columns);
  const std::optional<Policy> policy = parse_policy(f[kPolicy]);
  const std::optional<KernelConfig> config = parse_config(f[kConfig]);
  if (!policy) line.refuse(quoted(f[kPolicy]) + " is no launch policy");
  if (!config) line.refuse(quoted(f[kConfig]) + " is no config");
  for (const Column column : {kCodeHash, kNvrtc, kDriver, kTemplates}) {
    if (clean_text(f[column], kShortText) != f[column]) {
      line.refuse(fmt::format("{} is too long or not clean", kNames[column]));
    }
  }
  ParsedRow row{.place = line.place()};
  row.run = {
      .device = key_of(device),
      .device_name = device.name,
      .toolchain = {std::string(f[kNvrtc]), std::string(f[kDriver]), std::string(f[kTemplates])},
      .command = "made of text"};
  Measurement& m = row.winner.evidence;
  m.kernel = {.config = *config,
              .source_hash = kUnknownSource,
              .code_hash = std::string(f[kCodeHash]),
              .registers = number_of<int>(f[kRegisters], line),
              .smem_bytes = number_of<int>(f[kSmem], line)};
  m.problem = problem_of(f, line, device);
  m.m = number_of<int64_t>(f[kM], line);
  m.policy = *policy;
  m.device = row.run.device;
  m.toolchain = row.run.toolchain;
  m.timing = timing_of(f, line);
  if (const auto error = record_error(m)) line.refuse(*error);

  Winner& w = row.winner.winner;
  w.device = m.device;
  w.problem = m.problem;
  w.policy = m.policy;
  w.interval = {number_of<int64_t>(f[kLo], line), number_of<int64_t>(f[kHi], line)};
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
    const std::optional<std::string_view> value = optional_fact(key);
    if (value) return *value;
    next();
    line_.refuse(fmt::format("'{} = ...' is missing", key));
  }

  std::optional<std::string_view> optional_fact(std::string_view key) {
    const std::string prefix = fmt::format("{} = ", key);
    Text ahead = *this;
    if (!ahead.next() || !ahead.line_.text.starts_with(prefix)) return std::nullopt;
    *this = ahead;
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
  Device device{.name = std::string(kUnnamedCard)};
  if (const std::optional<std::string_view> card = text.optional_fact("card")) {
    device.name = clean_text(*card, kShortText);
    if (device.name != *card) text.line().refuse("card is too long or not clean");
  }
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

/// What the driver calls the card; empty when no run says it.
std::string name_of(const DeviceKey& card, TuningDb& database) {
  std::string name;
  for (const RunRecord& run : database.runs()) {
    if (run.device == card && run.device_name != kUnnamedCard) name = run.device_name;
  }
  return name;
}

auto sort_key(const Winner& w) {
  const Problem& p = w.problem;
  return std::tuple(p.experts, p.n, p.k, p.act, w.policy, w.m_tuned);
}

}  // namespace

std::string winners_text(TuningDb& database) {
  std::vector<Winner> winners = database.winners();
  std::erase_if(winners, [](const Winner& w) {
    return w.device.emulated || w.provenance != Provenance::measured ||
           w.origin == WinnerOrigin::imported;
  });
  if (winners.empty()) throw DatabaseError("no winner was measured on a real card");
  const DeviceKey key = winners.front().device;
  for (const Winner& winner : winners) {
    if (winner.device != key) throw DatabaseError("the winners are of several cards");
  }
  std::sort(winners.begin(), winners.end(),
            [](const Winner& a, const Winner& b) { return sort_key(a) < sort_key(b); });
  std::map<int64_t, Measurement> evidence;
  for (Measurement& row : database.measurements()) evidence[row.id] = std::move(row);

  const std::string card = name_of(key, database);
  std::string text = fmt::format(
      "{}\n{}arch = {}\nsm_count = {}\nl2_bytes = {}\nsmem_per_block = {}\n"
      "bandwidth_class = {}\n{}\n",
      kTitle, card.empty() ? "" : fmt::format("card = {}\n", card), sm_name(key.arch), key.sm_count, key.l2_bytes, key.smem_per_block,
      key.bandwidth_class, fmt::join(kNames, ","));
  for (const Winner& w : winners) {
    const Measurement& m = evidence.at(w.evidence);
    const Timing& t = m.timing;
    text += fmt::format(
        "{},{},{},{},{},{},{},{},{:.3f},{:.3f},{:.3f},{},{:.0f},{:.1f},{:.1f},{:.3f},{:.0f},{},{},"
        "{},{},{},{},\"{}\"\n",
        w.problem.n, w.problem.k, w.problem.experts, name(w.problem.act), name(w.policy),
        w.interval.lo, w.interval.hi, w.m_tuned, t.median_us, t.q1_us, t.q3_us, t.samples, t.gbps,
        t.pct_ceiling, t.tflops, t.f, t.clock_mhz, m.kernel.registers, m.kernel.smem_bytes,
        m.kernel.code_hash, m.toolchain.nvrtc, m.toolchain.driver, m.toolchain.template_digest,
        config_text(w.config));
  }
  return text;
}

ParsedWinners parse_winners_text(std::string_view text, std::string_view name) {
  Text lines(text, name);
  const Device device = device_of(lines);
  if (!lines.next()) lines.line().refuse("the line of columns is missing");
  const std::vector<Column> columns = columns_of(lines.line());
  ParsedWinners parsed;
  while (lines.next()) {
    if (parsed.defects.size() == kMostDefects) {
      parsed.unread = fmt::format("{}: {} lines were refused, the rest is not read",
                                  lines.line().place(), kMostDefects);
      break;
    }
    try {
      parsed.rows.push_back(row_of(lines.line(), columns, device));
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
