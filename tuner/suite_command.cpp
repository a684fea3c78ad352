// SPDX-License-Identifier: Apache-2.0
// Files that cannot be written are refused before anything is measured, and every row is kept as
// soon as it is there.
#include "tuner/suite_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "generator/template_bundle.h"
#include "runtime/installed_files.h"
#include "tuner/compare_report.h"
#include "tuner/judged_run.h"
#include "tuner/measure.h"
#include "tuner/model_shapes.h"
#include "tuner/plot.h"
#include "tuner/record.h"
#include "tuner/run_facts.h"
#include "tuner/session.h"
#include "tuner/stored_cells.h"
#include "tuner/suite_document.h"
#include "tuner/suite_report.h"
#include "tuner/suite_run.h"
#include "tuner/table.h"
#include "tuner/whole_file.h"
#include "tuner/worker.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {
namespace {

constexpr size_t kMostBytes = size_t{64} << 20;  // of a saved file

// False, and a warning, when it cannot be: what was measured must still reach the screen.
bool keep(const std::string& path, const std::string& text, const Terminal& terminal) {
  try {
    replace_file(path, text);
    return true;
  } catch (const FileError& error) {
    warn(terminal, error.what());
    return false;
  }
}

// The forms that the user asked for.
Answered answered(const SuiteResults& results, ExitCode code, const CommandLine& line,
                  const Terminal& terminal) {
  Answered answered{.code = code, .text = render(suite_table(results), line.format)};
  // An older file is worth more than one without rows.
  if (results.rows.empty()) return answered;
  bool kept = true;
  if (line.save) kept = keep(*line.save, suite_text(results), terminal);
  if (line.plot) kept = keep(*line.plot, plot_svg(suite_plot(results)), terminal) && kept;
  if (!kept && code == ExitCode::ok) answered.code = ExitCode::failed;
  return answered;
}

std::string history_path(const CommandLine& line, const Terminal& terminal) {
  const std::string path = user_database(line, terminal);
  if (path.empty())
    throw UsageError("--record has no database to add the run to: name one by --db");
  return path;
}

// Adds the run to the history and says what it shows.
void record_run(const CommandLine& line, const SuiteResults& results, const Terminal& terminal) {
  TuningDb db(history_path(line, terminal), Access::read_write);
  if (!line.from.empty()) {
    if (const int64_t known = recorded_run(db, results)) {
      return warn(terminal,
                  fmt::format("these results are run {} of {} already", known, db.path()));
    }
  }
  const JudgedRun judged = record_and_judge(db, results);
  for (const std::string& warning : db.warnings()) warn(terminal, warning);
  warn(terminal, fmt::format("recorded as run {} of {}", judged.run, db.path()));
  if (judged.previous == 0)
    return warn(terminal, "it is the first of this card: nothing to compare");
  warn(terminal, fmt::format("against run {}: {}", judged.previous,
                             tally_text(tally(judged.pairs, Question::best_config))));
  const StepsFound& found = judged.steps;
  warn(terminal, fmt::format("{} change points; {} of {} series are long enough (4 runs)",
                             found.steps.size(), found.tested, found.tested + found.too_short));
}

SuiteResults read_saved(const std::string& path) {
  try {
    return parse_suite_document(read_file(path, kMostBytes));
  } catch (const DocumentError& error) {
    throw UsageError(fmt::format("'{}' is no file of bench --save: {}", path, error.what()));
  }
}

Answered show_saved(const CommandLine& line, const Terminal& terminal) {
  SuiteResults results = read_saved(line.from.front());
  for (size_t i = 1; i < line.from.size(); ++i) {
    try {
      merge(results, read_saved(line.from[i]));
    } catch (const MergeError& error) {
      throw UsageError(fmt::format("'{}' does not go together with '{}': {}", line.from[i],
                                   line.from.front(), error.what()));
    }
  }
  if (line.from.size() > 1) results.command = line.text;
  if (line.record) {
    try {
      record_run(line, results, terminal);
    } catch (const DocumentError& error) {
      throw UsageError(fmt::format("'{}' cannot be recorded: {}", line.from.front(), error.what()));
    }
  }
  return answered(results, ExitCode::ok, line, terminal);
}

// A measurement costs minutes of a card: none is overwritten by the way.
void refuse_to_replace(const CommandLine& line) {
  if (line.force) return;
  try {
    const std::string text = read_file(*line.save, kMostBytes);
    if (text.empty()) return;
    const SuiteResults old = parse_suite_document(text);
    if (old.command == line.text) return;
    throw UsageError(
        fmt::format("'{}' holds {} rows of another command ({}): --force replaces them", *line.save,
                    old.rows.size(), old.command));
  } catch (const FileError&) {
    return;  // not there yet
  } catch (const DocumentError&) {
    throw UsageError(fmt::format("'{}' is no file of bench: --force replaces it", *line.save));
  }
}

// The rows that the same command has left in its file when it was interrupted.
void resume(SuiteResults& results, const CommandLine& line, const Terminal& terminal) {
  std::optional<SuiteResults> old;
  try {
    old = parse_suite_document(read_file(*line.save, kMostBytes));
  } catch (const FileError&) {
    return;  // not there yet
  } catch (const DocumentError&) {
    return;  // somebody else's; --force says to write there
  }
  const auto same = [&](auto member) { return (*old).*member == results.*member; };
  const bool ours = !old->complete && same(&SuiteResults::card) && same(&SuiteResults::driver) &&
                    same(&SuiteResults::nvrtc) && same(&SuiteResults::commit) &&
                    same(&SuiteResults::command) && same(&SuiteResults::modelled);
  if (!ours) return;
  results.ceilings = old->ceilings;
  results.rows = std::move(old->rows);
  std::erase_if(results.rows, [](const SuiteRow& row) { return !row.timed(); });
  warn(terminal, fmt::format("going on from {} rows in {}", results.rows.size(), *line.save));
}

ExitCode exit_code(const SuiteOutcome& outcome, const SuiteResults& results) {
  if (outcome.end == RunEnd::stopped) return ExitCode::interrupted;
  if (outcome.wrong) return ExitCode::wrong;
  const bool timed = std::all_of(results.rows.begin(), results.rows.end(),
                                 [](const SuiteRow& row) { return row.timed(); });
  return timed ? ExitCode::ok : ExitCode::failed;
}

// The shapes of models, but those of experts, which nothing here times.
std::vector<Shape> shapes_of(const CommandLine& line, const Terminal& terminal) {
  if (line.models.empty()) return line.shapes;
  std::vector<Shape> shapes;
  for (const ModelShape& shape : model_shapes(line.models, line.tps)) {
    if (shape.experts == 0) {
      shapes.push_back({shape.n, shape.k});
    } else {
      warn(terminal, fmt::format("{} of {} is left out: grouped launches are not timed here",
                                 shape_text(shape), shape.uses.front().layer));
    }
  }
  return shapes;
}

// What to measure when the stored winners say it.
std::vector<SuiteCell> winner_cells(const CommandLine& line, const Gpu& gpu,
                                    const Terminal& terminal) {
  std::vector<std::string> paths = shipped_databases();
  paths.push_back(user_database(line, terminal));
  const std::vector<SuiteCell> cells =
      sampled(stored_cells(paths, key_of(gpu.facts()), line.act), line.sample, line.seed);
  if (cells.empty()) {
    throw UsageError(fmt::format(
        "no winner is stored for {}: --suite or --shape says what to measure", gpu.facts().name));
  }
  return cells;
}

// The grid that holds `cells`.
SuiteRequest request_of(const CommandLine& line, const std::vector<Shape>& shapes,
                        std::vector<SuiteCell> cells) {
  SuiteRequest request{.shapes = shapes,
                       .tokens = line.tokens,
                       .act = line.act,
                       .baseline = line.baseline,
                       .seed = line.seed};
  if (cells.empty()) return request;
  request.shapes.clear();
  std::set<int64_t> tokens;
  for (const SuiteCell& cell : cells) {
    tokens.insert(cell.m);
    if (request.shapes.empty() || request.shapes.back() != cell.shape) {
      request.shapes.push_back(cell.shape);
    }
  }
  request.tokens.assign(tokens.begin(), tokens.end());
  request.cells = std::move(cells);
  return request;
}

ExitCode measure(const CommandLine& line, const SuiteRequest& request, const Gpu& gpu,
                 const Workshop& workshop, SuiteResults& results, const Terminal& terminal) {
  const Snapshot snapshot = open_snapshot(line, gpu.facts(), terminal);
  try {
    const SuiteOutcome outcome = run_suite(request, workshop, snapshot, results, [&] {
      if (line.save) keep(*line.save, suite_text(results), terminal);
    });
    workshop.progress.clear();
    return exit_code(outcome, results);
  } catch (const MeasureError& error) {
    workshop.progress.clear();
    warn(terminal, error.what());
  } catch (const WorkerError& error) {
    workshop.progress.clear();
    warn(terminal, error.what());
  }
  return ExitCode::failed;
}

}  // namespace

Answered run_bench(const CommandLine& line, const Terminal& terminal) {
  for (const std::optional<std::string>* path : {&line.save, &line.plot}) {
    if (*path) check_replaceable(**path);
  }
  if (!line.from.empty()) return show_saved(line, terminal);
  if (line.save) refuse_to_replace(line);
  const std::vector<Shape> shapes = shapes_of(line, terminal);
  if (line.record) TuningDb(history_path(line, terminal), Access::read_write);  // or refuse now
  const Gpu gpu = open_gpu(line, terminal);
  const SuiteRequest request = request_of(
      line, shapes, line.winners ? winner_cells(line, gpu, terminal) : std::vector<SuiteCell>());
  const OpenWorkshop workshop(line, gpu, terminal);
  SuiteResults results{
      .card = gpu.facts().name,
      .driver = driver_release(gpu.driver()),
      .nvrtc = workshop->compiler.version(),
      .date = utc_now(),
      .commit = build_commit(),
      .command = line.text,
      .modelled = gpu.emulated(),
      .device = key_of(gpu.facts()),
      .toolchain = {.driver = driver_name(gpu.driver()), .template_digest = template_digest()},
      .seed = line.seed};
  if (line.save) resume(results, line, terminal);
  const ExitCode code = measure(line, request, gpu, *workshop, results, terminal);
  const bool compared = std::any_of(results.rows.begin(), results.rows.end(),
                                    [](const SuiteRow& row) { return row.us_cublas.has_value(); });
  if (!compared && !results.baseline.empty()) warn(terminal, "baseline: " + results.baseline);
  if (code == ExitCode::interrupted) {
    warn(terminal, fmt::format("interrupted: {} rows are {}", results.rows.size(),
                               line.save ? "kept, the same command goes on from there" : "shown"));
  } else if (code == ExitCode::wrong || code == ExitCode::failed) {
    warn(terminal, "not every kernel came to a time: see the notes");
  }
  // Half a run would be what the next one is held against.
  const bool whole = code != ExitCode::interrupted && !results.rows.empty();
  if (line.record && whole) record_run(line, results, terminal);
  if (line.record && !whole) warn(terminal, "not recorded: the run did not come to its end");
  return answered(results, code, line, terminal);
}

}  // namespace nvfp4
