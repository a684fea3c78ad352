// SPDX-License-Identifier: Apache-2.0
// What OLD and NEW name: RUN of the user's database, FILE, or FILE@RUN; RUN is a number, `latest`
// or `latest~2`. A FILE is a database or what bench --save kept.
#include "tuner/compare_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <utility>

#include "tuner/compare.h"
#include "tuner/compare_report.h"
#include "tuner/judged_run.h"
#include "tuner/record.h"
#include "tuner/session.h"
#include "tuner/suite_document.h"
#include "tuner/whole_file.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {
namespace {

constexpr size_t kMostBytes = size_t{64} << 20;  // of a saved suite
constexpr std::string_view kLatest = "latest";

std::optional<int64_t> parse_count(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && value >= 0 ? std::optional(value) : std::nullopt;
}

// A run by its number, or by how many recorded runs of its card came after it.
struct RunName {
  std::optional<int64_t> id;
  int64_t back = 0;
};

std::optional<RunName> parse_run(std::string_view text) {
  if (const std::optional<int64_t> id = parse_count(text)) return RunName{.id = *id};
  if (!text.starts_with(kLatest)) return std::nullopt;
  text.remove_prefix(kLatest.size());
  if (text.empty()) return RunName{};
  if (text[0] != '~') return std::nullopt;
  const std::optional<int64_t> back = parse_count(text.substr(1));
  return back ? std::optional(RunName{.back = *back}) : std::nullopt;
}

const RunRecord& find_run(const RunHistory& history, const RunName& wanted,
                          const std::string& path) {
  const RunRecord* run = nullptr;
  if (wanted.id) {
    run = history.find(*wanted.id);
    if (run == nullptr) throw UsageError(fmt::format("{} has no run {}", path, *wanted.id));
    return *run;
  }
  for (const RunRecord& other : history.runs) {
    if (other.purpose == Purpose::bench) run = &other;
  }
  for (int64_t i = 0; i < wanted.back && run != nullptr; ++i) run = history.before(*run);
  if (run == nullptr) {
    throw UsageError(fmt::format("{} has no {} runs of one card: bench --record makes them", path,
                                 wanted.back + 1));
  }
  return *run;
}

std::string described(const RunRecord& run) {
  return fmt::format("run {} ({}, {}{}, {})", run.id, name(run.purpose), run.date,
                     run.source_commit.empty() ? "" : ", commit " + run.source_commit,
                     run.device_name);
}

struct Opened {
  ComparedSide side;
  std::string name;                     // in full
  std::string path;                     // of the database; empty for a saved suite
  std::shared_ptr<RunHistory> history;  // null for a saved suite
};

Opened open_database(const std::string& path, const std::optional<RunName>& wanted,
                     const Terminal& terminal) {
  TuningDb db(path, Access::read_only);
  Opened opened{.name = path, .path = path, .history = std::make_shared<RunHistory>(db)};
  if (wanted) {
    const RunRecord& run = find_run(*opened.history, *wanted, path);
    opened.side = side_of(*opened.history, run);
    opened.name = described(run);
  } else {
    opened.side = side_of(*opened.history, db.winners());
  }
  for (const std::string& warning : db.warnings()) warn(terminal, warning);
  return opened;
}

bool is_database(const std::string& path) {
  char head[15] = {};
  std::ifstream(path, std::ios::binary).read(head, sizeof head);
  return std::string_view(head, sizeof head) == "SQLite format 3";
}

Opened open_file(const std::string& path, const Terminal& terminal) {
  if (!std::filesystem::exists(path)) {
    throw UsageError(
        fmt::format("'{}' is no file, and no run: runs are 12, latest, latest~1 or "
                    "FILE@12",
                    path));
  }
  if (is_database(path)) return open_database(path, std::nullopt, terminal);
  try {
    const SuiteResults results = parse_suite_document(read_file(path, kMostBytes));
    return {.side = side_of(results),
            .name = fmt::format("{} ({}, commit {}, {})", path, results.date, results.commit,
                                results.card)};
  } catch (const DocumentError& error) {
    throw UsageError(fmt::format("'{}' is neither a database nor a file of bench --save: {}", path,
                                 error.what()));
  }
}

Opened open_side(const std::string& text, const CommandLine& line, const Terminal& terminal) {
  if (const std::optional<RunName> run = parse_run(text)) {
    const std::string path = user_database(line, terminal);
    if (path.empty()) throw UsageError(fmt::format("'{}' is a run, of which database? --db", text));
    return open_database(path, run, terminal);
  }
  const size_t at = text.rfind('@');
  if (at != std::string::npos) {
    if (const auto run = parse_run(std::string_view(text).substr(at + 1))) {
      return open_database(text.substr(0, at), run, terminal);
    }
  }
  return open_file(text, terminal);
}

// Readers of the database see what was found out here too; a database that cannot be written is
// none the worse for it.
void keep(const Opened& base, const Opened& now, const std::vector<ComparedPair>& pairs) {
  const bool runs = base.side.run != 0 && now.side.run != 0 && base.side.run != now.side.run;
  if (!runs || base.path != now.path) return;
  try {
    TuningDb db(now.path, Access::read_write);
    store(db, pairs);
  } catch (const DatabaseError&) {
  }
}

}  // namespace

Answered run_compare(const CommandLine& line, const Terminal& terminal) {
  const Opened base = open_side(line.compared.at(0), line, terminal);
  const Opened now = open_side(line.compared.at(1), line, terminal);
  const Opened& known = now.history ? now : base;
  const auto& rows = now.side.rows.empty() ? base.side.rows : now.side.rows;
  NoiseFloor noise;
  if (known.history && !rows.empty()) noise = noise_floor(*known.history, rows.front().device);
  const std::vector<ComparedPair> pairs = compare(base.side, now.side, noise);
  const Tally best = tally(pairs, Question::best_config);
  keep(base, now, pairs);
  Answered answered{.text = compare_text(pairs,
                                         {.old_name = base.name,
                                          .new_name = now.name,
                                          .noise_pairs = noise.pairs(),
                                          .noise_assumed = noise.assumed()},
                                         line.format)};
  const int64_t on_one_side = best.of(Change::added) + best.of(Change::missing);
  if (on_one_side == static_cast<int64_t>(std::count_if(pairs.begin(), pairs.end(), [](auto& pair) {
        return pair.result.question == Question::best_config;
      }))) {
    warn(terminal, "no card, shape and M is on both sides: nothing was compared");
    answered.code = ExitCode::failed;
  } else if (line.fail_on_regression && regressed(pairs)) {
    warn(terminal, "regression: " + tally_text(best));
    answered.code = ExitCode::regression;
  }
  return answered;
}

}  // namespace nvfp4
