// SPDX-License-Identifier: Apache-2.0
// Pairs by key, then verdicts.
#include "tuner/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "generator/config_text.h"
#include "tuner/record.h"
#include "tuner/verdict.h"

namespace nvfp4 {
namespace {

std::string config_key(const Measurement& row) {
  return fmt::format("{} {}", series_key(row), config_text(row.kernel.config));
}

// Keeps the last row of each series and config.
class LatestRows {
 public:
  explicit LatestRows(ComparedSide& side) : side_(side) {}

  size_t add(const Measurement& row) {
    const auto [place, added] = places_.emplace(config_key(row), side_.rows.size());
    if (added) {
      side_.rows.push_back(row);
    } else {
      side_.rows[place->second] = row;
    }
    return place->second;
  }

 private:
  ComparedSide& side_;
  std::map<std::string, size_t> places_;
};

// Whether a tuner would rather have `a`: more samples first, they are of its finals.
bool better_founded(const Measurement& a, const Measurement& b) {
  return std::pair(-a.timing.samples, a.timing.median_us) <
         std::pair(-b.timing.samples, b.timing.median_us);
}

Comparison comparison_of(const ComparedSide& base, const ComparedSide& now, Question question,
                         const Measurement* old_row, const Measurement* new_row,
                         const NoiseFloor& noise) {
  const Measurement& row = new_row != nullptr ? *new_row : *old_row;
  Comparison c{.base_run = base.run,
               .run = now.run,
               .problem = row.problem,
               .m = row.m,
               .policy = row.policy,
               .question = question};
  if (old_row != nullptr && old_row->id != 0) c.base_measurement = old_row->id;
  if (new_row != nullptr && new_row->id != 0) c.measurement = new_row->id;
  if (old_row == nullptr || new_row == nullptr) {
    c.verdict = old_row == nullptr ? Change::added : Change::missing;
    return c;
  }
  Judgement judged = judge(*old_row, *new_row, noise.at(row.m));
  c.verdict = judged.change;
  c.reason = std::move(judged.reason);
  c.ratio = judged.ratio;
  c.ratio_lo = judged.ratio_lo;
  c.ratio_hi = judged.ratio_hi;
  c.cycles_ratio = judged.cycles_ratio;
  if (old_row->kernel.config != new_row->kernel.config) {
    c.reason = c.reason.empty() ? "another config answers" : "another config answers; " + c.reason;
  }
  return c;
}

// Broken first, then by how much slower, and so on.
auto rank(const ComparedPair& pair) {
  const auto order = [](Change change) {
    switch (change) {
      case Change::broken:
        return 0;
      case Change::slower:
        return 1;
      case Change::faster:
        return 2;
      case Change::ambiguous:
        return 3;
      case Change::missing:
        return 4;
      case Change::added:
        return 5;
      case Change::same:
        return 6;
      case Change::unchanged:
        return 7;
    }
    return 8;
  };
  const Comparison& c = pair.result;
  const double impact = c.ratio > 0 ? std::abs(std::log(c.ratio)) : 0;
  return std::tuple(order(c.verdict), -impact, c.problem.n, c.problem.k, c.m, c.policy, c.question);
}

}  // namespace

ComparedSide side_of(const RunHistory& history, const RunRecord& run) {
  ComparedSide side{.name = fmt::format("run {}", run.id), .run = run.id};
  LatestRows latest(side);
  for (const Measurement& row : history.rows) {
    if (row.run != run.id) continue;
    const size_t place = latest.add(row);
    if (run.purpose == Purpose::bench) {
      side.answers[series_key(row)] = place;
      continue;
    }
    if (row.verdict != Verdict::ok) continue;
    const auto [answer, added] = side.answers.emplace(series_key(row), place);
    if (!added && better_founded(row, side.rows[answer->second])) answer->second = place;
  }
  return side;
}

ComparedSide side_of(const RunHistory& history, const std::vector<Winner>& winners) {
  ComparedSide side;
  LatestRows latest(side);
  std::map<int64_t, size_t> places;  // by id of the measurement
  std::map<std::string, int64_t> answers;
  for (const Measurement& row : history.rows) {
    places[row.id] = latest.add(row);
    if (row.purpose == Purpose::bench) answers[series_key(row)] = row.id;
  }
  for (const Winner& winner : winners) {
    const auto place = places.find(winner.evidence);
    if (place == places.end()) continue;
    int64_t& answer = answers[series_key(side.rows[place->second])];
    answer = std::max(answer, winner.evidence);
  }
  for (const auto& [series, id] : answers) side.answers[series] = places.at(id);
  return side;
}

ComparedSide side_of(const SuiteResults& results) {
  ComparedSide side;
  LatestRows latest(side);
  for (const Measurement& row : measurements_of(results)) {
    side.answers[series_key(row)] = latest.add(row);
  }
  return side;
}

std::vector<ComparedPair> compare(const ComparedSide& base, const ComparedSide& now,
                                  const NoiseFloor& noise) {
  using Rows = std::map<std::string, const Measurement*>;
  const auto by_config = [](const ComparedSide& side) {
    Rows rows;
    for (const Measurement& row : side.rows) rows[config_key(row)] = &row;
    return rows;
  };
  const auto answering = [](const ComparedSide& side) {
    Rows rows;
    for (const auto& [series, index] : side.answers) rows[series] = &side.rows[index];
    return rows;
  };
  std::vector<ComparedPair> pairs;
  const auto join = [&](const Rows& old_rows, const Rows& new_rows, Question question) {
    std::map<std::string, std::pair<const Measurement*, const Measurement*>> both;
    for (const auto& [key, row] : old_rows) both[key].first = row;
    for (const auto& [key, row] : new_rows) both[key].second = row;
    for (const auto& [key, rows] : both) {
      ComparedPair pair{.result =
                            comparison_of(base, now, question, rows.first, rows.second, noise)};
      if (rows.first != nullptr) pair.base = *rows.first;
      if (rows.second != nullptr) pair.now = *rows.second;
      pairs.push_back(std::move(pair));
    }
  };
  join(answering(base), answering(now), Question::best_config);
  join(by_config(base), by_config(now), Question::same_config);
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const ComparedPair& a, const ComparedPair& b) { return rank(a) < rank(b); });
  return pairs;
}

Tally tally(const std::vector<ComparedPair>& pairs, Question question) {
  Tally tally;
  double sum = 0;
  for (const ComparedPair& pair : pairs) {
    const Comparison& c = pair.result;
    if (c.question != question) continue;
    ++tally.counts[static_cast<size_t>(c.verdict)];
    if (c.ratio <= 0) continue;
    ++tally.compared;
    sum += std::log(c.ratio);
  }
  if (tally.compared > 0) tally.geomean = std::exp(sum / static_cast<double>(tally.compared));
  return tally;
}

bool regressed(const std::vector<ComparedPair>& pairs) {
  return std::any_of(pairs.begin(), pairs.end(), [](const ComparedPair& pair) {
    const Comparison& c = pair.result;
    return c.question == Question::best_config &&
           (c.verdict == Change::slower || c.verdict == Change::broken);
  });
}

}  // namespace nvfp4
