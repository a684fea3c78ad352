// SPDX-License-Identifier: Apache-2.0
// How well the cost model orders what was measured: `model_accuracy tuning.db...` holds it against
// every (shape, M, policy) of the databases, family by family and over both. Run by hand.
//
// A config's time is its first row's: that is the coarse series, in which all configs are timed
// alike. Finals time a few of them on a card that is warm, up to 15 % slower. What is within 1 % of
// the fastest is as good as the best. Mind where rows come from: a search measures what the model
// preferred, `regret --sweep` all kinds of candidates alike.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "generator/config_text.h"
#include "generator/cost_model.h"
#include "tuner/regret.h"
#include "tuning_db/tuning_db.h"

namespace {

using namespace nvfp4;

constexpr double kTie = 0.01;
constexpr size_t kTop = 16;
constexpr size_t kFewest = 20;  ///< rows by which anything is judged: of fewer, most are in the top

struct Row {
  KernelConfig config;
  double us = 0;
  double predicted = 0;
};

struct Judgement {
  size_t rows = 0;
  size_t rank = 0;    ///< of the best in the model's order; of its equals, of the first
  double regret = 0;  ///< of the model's first
  double error = 0;   ///< median of |ln(predicted / measured)|
};

Judgement judge(std::vector<Row> rows) {
  std::ranges::stable_sort(rows, {}, &Row::predicted);
  const double best = std::ranges::min(rows, {}, &Row::us).us;
  const auto equal = [&](const Row& row) { return row.us <= best * (1 + kTie); };
  std::vector<double> errors;
  for (const Row& row : rows) errors.push_back(std::abs(std::log(row.predicted / row.us)));
  return {.rows = rows.size(),
          .rank = static_cast<size_t>(std::ranges::find_if(rows, equal) - rows.begin()) + 1,
          .regret = rows.front().us / best - 1,
          .error = share_of(errors, 0.5)};
}

std::optional<Device> device_of(const DeviceKey& key) {
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

using Cell =
    std::tuple<std::string, std::string, int64_t, std::string>;  ///< card, problem, M, policy

std::map<Cell, std::vector<Row>> read(const std::string& path) {
  std::map<Cell, std::vector<Row>> cells;
  std::set<std::pair<Cell, std::string>> seen;
  TuningDb db(path, Access::read_only);
  for (const Measurement& row : db.measurements()) {
    if (row.verdict != Verdict::ok || row.provenance != Provenance::measured) continue;
    const std::optional<Device> device = device_of(row.device);
    if (!device) continue;
    const Cell cell{device->name, text_of(row.problem), row.m, std::string(name(row.policy))};
    if (!seen.insert({cell, config_text(row.kernel.config)}).second) continue;
    const double predicted = estimate(row.kernel.config, row.problem, row.m, *device).seconds * 1e6;
    cells[cell].push_back({row.kernel.config, row.timing.median_us, predicted});
  }
  return cells;
}

std::string percent(double share) { return fmt::format("{:.1f}", 100 * share); }

void summarise(const std::string& family, const std::vector<Judgement>& judgements) {
  std::vector<double> ranks, regrets, errors;
  for (const Judgement& v : judgements) {
    ranks.push_back(double(v.rank));
    regrets.push_back(v.regret);
    errors.push_back(v.error);
  }
  const auto top =
      std::ranges::count_if(judgements, [](const Judgement& v) { return v.rank <= kTop; });
  fmt::print("{:<6} {:>5} {:>6} {:>6.1f} {:>6.1f} {:>6.0f}  {:>7} {:>6} {:>6}  {:>6}\n", family,
             judgements.size(), fmt::format("{}", top), share_of(ranks, 0.5), share_of(ranks, 0.95),
             share_of(ranks, 1), percent(share_of(regrets, 0.5)), percent(share_of(regrets, 0.95)),
             percent(share_of(regrets, 1)), percent(share_of(errors, 0.5)));
}

void report(const std::string& path) {
  fmt::print("{}\n{:<22} {:<28} {:>7} {:<9}  {:>16}  {:>16}  {:>16}\n", path, "card", "problem",
             "M", "policy", "mma", "wgmma", "both");
  std::map<std::string, std::vector<Judgement>> all;
  for (const auto& [cell, rows] : read(path)) {
    const auto& [card, problem, m, policy] = cell;
    std::map<std::string, std::vector<Row>> parts{{"both", rows}};
    for (const Row& row : rows) parts[std::string(name(row.config.family))].push_back(row);
    std::string line;
    for (const char* family : {"mma", "wgmma", "both"}) {
      const std::vector<Row>& part = parts[family];
      if (part.size() < kFewest) {
        line += fmt::format("  {:>16}", part.empty() ? "" : fmt::format("({} rows)", part.size()));
        continue;
      }
      const Judgement v = judge(part);
      all[family].push_back(v);
      line += fmt::format("  {:>4} of {:>3} {:>5}", v.rank, v.rows, percent(v.regret));
    }
    if (rows.size() >= kFewest) {
      fmt::print("{:<22} {:<28} {:>7} {:<9}{}\n", card, problem, m, policy, line);
    }
  }
  fmt::print(
      "\n{:<6} {:>5} {:>6} {:>20}  {:>21}  {:>6}\n{:<6} {:>5} {:>6} {:>6} {:>6} {:>6}  {:>7} {:>6} "
      "{:>6}  {:>6}\n",
      "", "", "in top", "rank of the best", "regret of the first, %", "off, %", "family", "cells",
      kTop, "median", "95 %", "worst", "median", "95 %", "worst", "median");
  for (const char* family : {"mma", "wgmma", "both"}) summarise(family, all[family]);
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
