// SPDX-License-Identifier: Apache-2.0
// Each verb opens what it needs and no more: a question never creates a file.
#include "tuner/db_command.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <set>

#include "runtime/installed_files.h"
#include "tuner/db_verify.h"
#include "tuner/db_winners.h"
#include "tuner/session.h"
#include "tuner/whole_file.h"
#include "tuning_db/anonymous.h"
#include "tuning_db/import.h"
#include "tuning_db/merge.h"
#include "tuning_db/tuning_db.h"
#include "tuning_db/winners_text.h"

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr size_t kMaxWinnersText = 64 << 20;
// A row of a stranger's file costs microseconds: this many bytes take less than 2 s.
constexpr size_t kMaxImport = 32 << 20;
constexpr std::string_view kSqliteMagic("SQLite format 3\0", 16);

// The path of the user's database, or the reason why there is none.
std::string required_database(const CommandLine& line) {
  if (line.db) return *line.db;
  const DatabasePath found = default_database_path();
  if (found.path.empty()) throw DatabaseError(found.reason);
  return found.path;
}

void warn_all(const Terminal& terminal, const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) warn(terminal, warning);
}

Answered run_path(const CommandLine& line, const Terminal& terminal) {
  const std::string path = user_database(line, terminal);
  return {.code = path.empty() ? ExitCode::failed : ExitCode::ok,
          .text = path.empty() ? "" : path + "\n"};
}

// A row about one file, whether it can be read or not.
Json info_row(std::string_view layer, const std::string& path) {
  Json row = {{"layer", layer},     {"path", path},        {"bytes", nullptr},
              {"runs", nullptr},    {"rows", nullptr},     {"failed", nullptr},
              {"winners", nullptr}, {"hints", nullptr},    {"modelled", nullptr},
              {"devices", nullptr}, {"bad_rows", nullptr}, {"note", ""}};
  std::error_code error;
  const auto bytes = fs::file_size(path, error);
  if (error && !fs::exists(path)) {
    row["note"] = "not there yet";
    return row;
  }
  if (!error) row["bytes"] = bytes;
  try {
    TuningDb database(path, layer == "user" ? Access::read_only : Access::immutable);
    int failed = 0, hints = 0, modelled = 0;
    std::set<std::string> devices;
    for (const RunRecord& run : database.runs()) devices.insert(run.device_name);
    for (const Measurement& m : database.measurements()) failed += m.verdict != Verdict::ok;
    for (const Winner& w : database.winners()) {
      hints += w.origin == WinnerOrigin::imported;
      modelled += w.provenance == Provenance::modelled;
    }
    const TuningDb::Counts counts = database.counts();
    std::string names;
    for (const std::string& device : devices) names += (names.empty() ? "" : "; ") + device;
    row["runs"] = counts.runs;
    row["rows"] = counts.measurements;
    row["failed"] = failed;
    row["winners"] = counts.winners;
    row["hints"] = hints;
    row["modelled"] = modelled;
    row["devices"] = names;
    row["bad_rows"] = database.warnings().size();
    if (!database.warnings().empty()) row["note"] = database.warnings().front();
  } catch (const DatabaseError& problem) {
    row["note"] = problem.what();
  }
  return row;
}

Answered run_info(const CommandLine& line, const Terminal& terminal) {
  Table table;
  table.columns = {{"layer", "layer"},       {"path", "path"},       {"bytes", "bytes"},
                   {"runs", "runs"},         {"rows", "rows"},       {"failed", "failed"},
                   {"winners", "winners"},   {"hints", "hints"},     {"modelled", "modelled"},
                   {"bad_rows", "bad rows"}, {"devices", "devices"}, {"note", "note"}};
  const std::string path = user_database(line, terminal);
  if (!path.empty()) table.rows.push_back(info_row("user", path));
  for (const std::string& shipped : shipped_databases()) {
    table.rows.push_back(info_row("shipped", shipped));
  }
  bool unreadable = false;
  for (const Json& row : table.rows) unreadable |= row["runs"].is_null() && !row["bytes"].is_null();
  return {.code = unreadable ? ExitCode::failed : ExitCode::ok, .text = render(table, line.format)};
}

Answered run_list(const CommandLine& line, const Terminal& terminal) {
  TuningDb database(required_database(line), Access::read_only);
  const Table table = list_table(stored_winners(database, line.db_request));
  warn_all(terminal, database.warnings());
  return {.text = render(table, line.format)};
}

Answered run_show(const CommandLine& line, const Terminal& terminal) {
  TuningDb database(required_database(line), Access::read_only);
  std::vector<StoredWinner> found = stored_winners(database, line.db_request);
  warn_all(terminal, database.warnings());
  const DbRequest& asked = line.db_request;
  if (found.empty()) {
    const std::string experts =
        asked.experts ? fmt::format(", {} experts", *asked.experts) : std::string();
    throw DatabaseError(fmt::format("database {}: no winner for N = {}, K = {}{}, M = {}",
                                    database.path(), asked.shape->n, asked.shape->k, experts,
                                    asked.tokens[0]));
  }
  // What a lookup would take: dense unless asked, tuned before imported, then measured, then tuned
  // at this very M.
  const auto rank = [&](const StoredWinner& s) {
    const Winner& w = s.winner;
    return std::tuple(w.problem.experts, w.origin, w.provenance, w.m_tuned != asked.tokens[0],
                      w.interval.width());
  };
  const auto best = std::min_element(
      found.begin(), found.end(), [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  Table table = show_table(*best);
  if (found.size() > 1) {
    table.notes.push_back(
        fmt::format("{} winners match: db list with the same options shows all", found.size()));
  }
  return {.text = render(table, line.format)};
}

// A database that nobody sees before it is whole.
template <typename Fill>
auto write_database(const std::string& path, bool force, const Fill& fill) {
  if (fs::exists(path) && !force) {
    throw DatabaseError(fmt::format("{} exists: --force replaces it", path));
  }
  if (fs::is_directory(path)) throw DatabaseError(fmt::format("{} is a directory", path));
  const std::string part = path + ".part";
  fs::remove(part);
  try {
    const auto result = [&] {
      TuningDb database(part, Access::read_write);
      return fill(database);
    }();
    fs::permissions(part, fs::perms(0644));  // for everyone, unlike a user's
    fs::rename(part, path);
    return result;
  } catch (...) {
    std::error_code ignored;
    fs::remove(part, ignored);
    throw;
  }
}

Answered run_export(const CommandLine& line, const Terminal& terminal) {
  TuningDb database(required_database(line), Access::read_only);
  if (!line.db_request.history) {
    const std::string text = winners_text(database);
    warn_all(terminal, database.warnings());
    return {.text = text};
  }
  const std::string& path = *line.db_request.history;
  const MergeCounts counts = write_database(path, line.force, [&](TuningDb& given) {
    TuningDb* const sources[] = {&database};
    return merge(given, sources, Anonymizer::here().rewrite());
  });
  warn_all(terminal, database.warnings());
  return {.text = fmt::format("{} runs, {} rows and {} winners in {}\n", counts.runs,
                              counts.measurements, counts.winners, path)};
}

ImportResult import_file(TuningDb& into, const std::string& path, const std::string& bytes) {
  if (!bytes.starts_with(kSqliteMagic)) return import_winners(into, bytes, path);
  TuningDb from(path, Access::immutable);
  return import_winners(into, from);
}

Answered run_import(const CommandLine& line, const Terminal& terminal) {
  std::optional<TuningDb> database;  // none is made for a file that cannot be read
  Answered answered;
  for (const std::string& path : line.db_request.files) {
    const std::string bytes = read_file(path, kMaxImport);
    if (!database) database.emplace(required_database(line), Access::read_write);
    const ImportResult result = import_file(*database, path, bytes);
    for (const std::string& refused : result.refused) warn(terminal, "refused: " + refused);
    if (!result.unread.empty()) warn(terminal, result.unread);
    if (!result.refused.empty()) answered.code = ExitCode::failed;
    answered.text += fmt::format("{}: {} winners taken as hints, {} rows refused\n", path,
                                 result.winners, result.refused.size());
  }
  if (database) warn_all(terminal, database->warnings());
  answered.text += "the next tuning of their shapes tries them first; lookups do not use them\n";
  return answered;
}

Answered run_merge(const CommandLine& line, const Terminal& terminal) {
  const std::string into = required_database(line);
  std::vector<std::unique_ptr<TuningDb>> opened;
  std::vector<TuningDb*> sources;
  for (const std::string& path : line.db_request.files) {
    std::error_code ignored;
    if (fs::equivalent(path, into, ignored)) {
      throw DatabaseError(fmt::format("{} is the database that is merged into", path));
    }
    opened.push_back(std::make_unique<TuningDb>(path, Access::read_only));
    sources.push_back(opened.back().get());
  }
  TuningDb database(into, Access::read_write);  // none is made for a file that cannot be read
  const MergeCounts counts = merge(database, sources);
  warn_all(terminal, database.warnings());
  for (const auto& source : opened) warn_all(terminal, source->warnings());
  return {.text = fmt::format("{} runs, {} rows, {} comparisons and {} winners added to {}; {} "
                              "winners stay against another config\n",
                              counts.runs, counts.measurements, counts.comparisons, counts.winners,
                              database.path(), counts.kept)};
}

Answered run_diff(const CommandLine& line, const Terminal& terminal) {
  std::vector<std::string> files = line.db_request.files;
  if (files.size() == 1) files.insert(files.begin(), required_database(line));
  std::vector<StoredWinner> sides[2];
  for (int side = 0; side < 2; ++side) {
    TuningDb database(files[side], Access::read_only);
    sides[side] = stored_winners(database, line.db_request);
    warn_all(terminal, database.warnings());
  }
  Table table = diff_table(sides[0], sides[1]);
  table.facts["a"] = files[0];
  table.facts["b"] = files[1];
  table.notes.push_back(fmt::format("A is {}, B is {}", files[0], files[1]));
  return {.text = render(table, line.format)};
}

Answered run_compact(const CommandLine& line, const Terminal& terminal) {
  const std::string path = required_database(line);
  if (!fs::exists(path)) throw DatabaseError(fmt::format("database {}: does not exist", path));
  TuningDb database(path, Access::read_write);
  const TuningDb::Compaction done = database.compact();
  warn_all(terminal, database.warnings());
  return {.text = fmt::format(
              "{}: {} bytes before, {} after; dropped {} replaced rows, the raw samples of {}, {} "
              "bad rows, {} unused ones\n",
              path, done.bytes_before, done.bytes_after, done.measurements, done.samples,
              done.bad_rows, done.unused)};
}

Answered run_build(const CommandLine& line) {
  const std::string& text_path = line.db_request.files[0];
  const std::string& path = line.db_request.files[1];
  const std::string text = read_file(text_path, kMaxWinnersText);
  const int64_t winners = write_database(path, line.force, [&](TuningDb& database) {
    return add_winners_text(database, text, text_path);
  });
  return {.text = fmt::format("{} winners in {}\n", winners, path)};
}

}  // namespace

Answered run_db(const CommandLine& line, const Terminal& terminal) {
  switch (line.command) {
    case Command::db_path:
      return run_path(line, terminal);
    case Command::db_info:
      return run_info(line, terminal);
    case Command::db_list:
      return run_list(line, terminal);
    case Command::db_show:
      return run_show(line, terminal);
    case Command::db_export:
      return run_export(line, terminal);
    case Command::db_import:
      return run_import(line, terminal);
    case Command::db_merge:
      return run_merge(line, terminal);
    case Command::db_diff:
      return run_diff(line, terminal);
    case Command::db_verify:
      return run_db_verify(line, terminal);
    case Command::db_compact:
      return run_compact(line, terminal);
    case Command::db_build:
      return run_build(line);
    default:
      return {};
  }
}

}  // namespace nvfp4
