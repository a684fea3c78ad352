// SPDX-License-Identifier: Apache-2.0
// Holds the cost model against databases: `model_accuracy tuning.db...` says of every (shape, M,
// policy) at which place of the model's order the best stands, of each family and of all, and how
// much slower the model's first is. Run by hand.
//
// A config's time is its first row's: that is the coarse series, in which all configs are timed
// alike. Finals time a few of them on a card that is warm, up to 15 % slower. Mind where rows come
// from: a search measures what the model preferred, `regret --sweep` all kinds of candidates alike.
#include "tests/model_accuracy.h"

#include <fmt/format.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "generator/config_text.h"
#include "generator/cost_model.h"
#include "tuning_db/tuning_db.h"

namespace {

using namespace nvfp4;

constexpr size_t kTop = 16;
constexpr size_t kFewest = 20;  ///< rows by which anything is judged: of fewer, most are in the top
constexpr const char* kAll = "all";

using Cell = std::tuple<std::string, std::string, int64_t, std::string>;  ///< to `policy`
using Parts = std::map<std::string, std::vector<TimedRow>>;               ///< by family, and kAll

std::optional<Device> part_of(const DeviceKey& key) {
  for (const KnownPart& part : known_parts()) {
    DeviceKey known = key_of(part.device);
    known.emulated = false;
    if (known == key) return part.device;
  }
  return std::nullopt;
}

std::string text_of(const Problem& problem) {
  std::string text = fmt::format("{} x {} {}", problem.n, problem.k, name(problem.act));
  if (problem.kind == ProblemKind::grouped) text += fmt::format(" experts={}", problem.experts);
  return text;
}

std::map<Cell, Parts> read(const std::string& path) {
  std::map<Cell, Parts> cells;
  std::set<std::pair<Cell, std::string>> seen;
  size_t unknown = 0;
  TuningDb db(path, Access::read_only);
  for (const Measurement& row : db.measurements()) {
    if (row.verdict != Verdict::ok || row.provenance != Provenance::measured) continue;
    const std::optional<Device> device = part_of(row.device);
    if (!device) ++unknown;
    if (!device) continue;
    const KernelConfig& config = row.kernel.config;
    const Cell cell{device->name, text_of(row.problem), row.m, std::string(name(row.policy))};
    if (!seen.insert({cell, config_text(config)}).second) continue;
    const double predicted = estimate(config, row.problem, row.m, *device).seconds * 1e6;
    for (const std::string_view part : {name(config.family), std::string_view(kAll)}) {
      cells[cell][std::string(part)].push_back({row.timing.median_us, predicted});
    }
  }
  if (unknown > 0)
    fmt::print(stderr, "{}: {} rows of cards that are no known part\n", path, unknown);
  return cells;
}

void summarise(const std::string& part, const std::vector<Accuracy>& found) {
  std::vector<double> ranks, regrets, errors;
  double sum = 0;
  for (const Accuracy& a : found) {
    ranks.push_back(double(a.rank));
    regrets.push_back(100 * a.regret);
    errors.push_back(100 * a.error);
    sum += 100 * a.regret;
  }
  const auto top = std::ranges::count_if(ranks, [](double rank) { return rank <= kTop; });
  fmt::print(
      "{:<8} {:>5} {:>6} {:>6.1f} {:>5.1f} {:>6.0f} {:>7.1f} {:>5.1f} {:>5.1f} {:>6.1f} {:>8.1f}\n",
      part, found.size(), top, share_of(ranks, 0.5), share_of(ranks, 0.95), share_of(ranks, 1),
      share_of(regrets, 0.5), sum / double(found.size()), share_of(regrets, 0.95),
      share_of(regrets, 1), share_of(errors, 0.5));
}

void report(const std::string& path) {
  const std::map<Cell, Parts> cells = read(path);
  fmt::print("{}\n{:<22} {:<26} {:>7} {:<9} {:<8} {:>5} {:>5} {:>9}\n", path, "card", "problem",
             "M", "policy", "family", "rows", "rank", "regret, %");
  std::map<std::string, std::vector<Accuracy>> all;
  for (const auto& [cell, parts] : cells) {
    const auto& [card, problem, m, policy] = cell;
    for (const auto& [part, rows] : parts) {
      if (rows.size() < kFewest) continue;
      const Accuracy found = accuracy(rows);
      all[part].push_back(found);
      fmt::print("{:<22} {:<26} {:>7} {:<9} {:<8} {:>5} {:>5} {:>9.1f}\n", card, problem, m, policy,
                 part, found.rows, found.rank, 100 * found.regret);
    }
  }
  fmt::print("\n{:<8} {:>5} {:>6} {:>19} {:>26} {:>8}\n", "", "", "in top", "rank of the best",
             "regret of the first, %", "error, %");
  fmt::print("{:<8} {:>5} {:>6} {:>6} {:>5} {:>6} {:>7} {:>5} {:>5} {:>6} {:>8}\n", "family",
             "cells", kTop, "median", "95 %", "worst", "median", "mean", "95 %", "worst", "median");
  for (const auto& [part, found] : all) summarise(part, found);
  fmt::print("\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: model_accuracy DATABASE...\n");
    return 2;
  }
  try {
    for (int i = 1; i < argc; ++i) report(argv[i]);
  } catch (const DatabaseError& error) {
    fmt::print(stderr, "model_accuracy: {}\n", error.what());
    return 1;
  }
  return 0;
}
