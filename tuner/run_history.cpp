// SPDX-License-Identifier: Apache-2.0
// Series are put together in the order of the rows' ids, never by date.
#include "tuner/run_history.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "generator/config_text.h"
#include "tuner/change_point.h"

namespace nvfp4 {
namespace {

// One row a run of what was recorded with a time.
bool counts(const Measurement& row, const DeviceKey& card) {
  return row.purpose == Purpose::bench && row.device == card && row.verdict == Verdict::ok;
}

struct Series {
  std::vector<const Measurement*> rows;
  std::vector<SeriesPoint> points;
};

void analyse(const std::map<std::string, Series>& all, Question question, StepsFound& found) {
  std::vector<SeriesSteps> family;
  for (const auto& [key, series] : all) family.push_back(find_steps(series.points));
  control_false_discoveries(family);
  size_t next = 0;
  for (const auto& [key, series] : all) {
    const SeriesSteps& steps = family[next++];
    ++(steps.tested ? found.tested : found.too_short);
    for (const Step& step : steps.steps) {
      const Measurement& first = *series.rows[step.at];
      found.steps.push_back({.problem = first.problem,
                             .m = first.m,
                             .policy = first.policy,
                             .question = question,
                             .run = first.run,
                             .ratio = step.ratio,
                             .p_value = step.p_value});
    }
  }
}

}  // namespace

std::string series_key(const Measurement& row) {
  const DeviceKey& d = row.device;
  return fmt::format("{} {} {} {} {} {} / {} m={} {} {}", sm_name(d.arch), d.sm_count, d.l2_bytes,
                     d.smem_per_block, d.bandwidth_class, d.emulated, key_text(row.problem), row.m,
                     name(row.policy), name(row.provenance));
}

const RunRecord* RunHistory::find(int64_t id) const {
  const auto found =
      std::find_if(runs.begin(), runs.end(), [&](const RunRecord& run) { return run.id == id; });
  return found == runs.end() ? nullptr : &*found;
}

const RunRecord* RunHistory::before(const RunRecord& run) const {
  const RunRecord* previous = nullptr;
  for (const RunRecord& other : runs) {
    const bool earlier = other.id < run.id && other.purpose == Purpose::bench;
    if (earlier && other.device == run.device) previous = &other;
  }
  return previous;
}

NoiseFloor noise_floor(const RunHistory& history, const DeviceKey& card) {
  NoiseFloor floor;
  std::map<std::string, const Measurement*> last;
  for (const Measurement& row : history.rows) {
    if (!counts(row, card) || row.kernel.code_hash.empty()) continue;
    const Measurement*& before =
        last[fmt::format("{} {}", series_key(row), config_text(row.kernel.config))];
    const bool same = before != nullptr && before->kernel.code_hash == row.kernel.code_hash &&
                      before->run != row.run;
    if (same) {
      const RunRecord* old_run = history.find(before->run);
      const RunRecord* new_run = history.find(row.run);
      if (old_run != nullptr && new_run != nullptr &&
          old_run->driver_release == new_run->driver_release) {
        floor.add(row.m, row.timing.median_us / before->timing.median_us);
      }
    }
    before = &row;
  }
  return floor;
}

StepsFound find_change_points(const RunHistory& history, const DeviceKey& card) {
  std::map<std::string, Series> best;
  std::map<std::string, Series> same;
  for (const Measurement& row : history.rows) {
    if (!counts(row, card)) continue;
    const std::string key = series_key(row);
    const SeriesPoint point{.us = row.timing.median_us, .clock_mhz = row.timing.clock_mhz};
    for (Series* series :
         {&best[key], &same[fmt::format("{} {}", key, config_text(row.kernel.config))]}) {
      // Of a run that holds a series twice, the later row counts.
      if (!series->rows.empty() && series->rows.back()->run == row.run) {
        series->rows.pop_back();
        series->points.pop_back();
      }
      series->rows.push_back(&row);
      series->points.push_back(point);
    }
  }
  StepsFound found;
  analyse(best, Question::best_config, found);
  analyse(same, Question::same_config, found);
  return found;
}

}  // namespace nvfp4
