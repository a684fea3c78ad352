// SPDX-License-Identifier: Apache-2.0
// Index over past rows.
#include "tuner/history.h"

#include <algorithm>
#include <set>
#include <utility>

#include "generator/config_text.h"

namespace nvfp4 {

void add_killers(std::vector<Suspect>& suspects, std::span<const Measurement> rows) {
  std::set<std::pair<int64_t, std::string>> counted;
  for (const Measurement& row : rows) {
    if (row.verdict != Verdict::fault && row.verdict != Verdict::hang) continue;
    const KernelConfig& config = row.kernel.config;
    if (!counted.emplace(row.run, config_text(config)).second) continue;
    const auto known = std::find_if(suspects.begin(), suspects.end(),
                                    [&](const Suspect& s) { return s.config == config; });
    if (known == suspects.end()) {
      suspects.push_back({.config = config, .deaths = 1});
    } else {
      ++known->deaths;
    }
  }
}

History::History(std::vector<Measurement> measurements, const Toolchain& toolchain) {
  for (Measurement& measurement : measurements) {
    if (measurement.purpose != Purpose::tune) continue;
    if (measurement.toolchain == toolchain) {
      add(measurement);
    } else if (!measurement.kernel.code_hash.empty()) {
      waiting_.push_back(std::move(measurement));
    }
  }
}

std::vector<KernelConfig> History::waiting(std::span<const int64_t> tokens, size_t limit) const {
  std::vector<const Measurement*> rows;
  for (const Measurement& row : waiting_) {
    if (std::count(tokens.begin(), tokens.end(), row.m) > 0) rows.push_back(&row);
  }
  // Failures have no time and come first: there are few, and each that stands saves a process.
  std::stable_sort(rows.begin(), rows.end(), [](const Measurement* a, const Measurement* b) {
    return a->timing.median_us < b->timing.median_us;
  });
  std::vector<KernelConfig> configs;
  for (const Measurement* row : rows) {
    const KernelConfig& config = row->kernel.config;
    if (configs.size() == limit) break;
    if (std::count(configs.begin(), configs.end(), config) == 0) configs.push_back(config);
  }
  return configs;
}

void History::readmit(const KernelConfig& config, std::string_view code_hash) {
  for (const Measurement& row : waiting_) {
    if (row.kernel.config == config && row.kernel.code_hash == code_hash) add(row);
  }
}

void History::add(const Measurement& measurement) {
  const std::string config = config_text(measurement.kernel.config);
  rows_.push_back(measurement);
  if (measurement.verdict != Verdict::ok) {
    // Noise and a refused launch (no memory left, say) speak of the machine at that moment.
    const bool passing =
        measurement.verdict == Verdict::too_noisy || measurement.verdict == Verdict::launch_error;
    if (!passing) failed_.emplace(config, measurement.verdict);
    return;
  }
  const Key key{config, measurement.m, measurement.policy};
  const auto [slot, added] = best_row_.emplace(key, rows_.size() - 1);
  if (added) return;
  // The later of two equally founded rows: it is the one this run made.
  const Measurement& known = rows_[slot->second];
  const bool equal = measurement.timing.samples == known.timing.samples;
  if (measurement.timing.samples > known.timing.samples || (equal && measurement.id >= known.id)) {
    slot->second = rows_.size() - 1;
  }
}

bool History::settled(const KernelConfig& config, int64_t m,
                      std::span<const Policy> policies) const {
  const std::string text = config_text(config);
  if (failed_.contains(text)) return true;
  return std::all_of(policies.begin(), policies.end(), [&](Policy policy) {
    return best_row_.contains(Key{text, m, policy});
  });
}

bool History::failed(const KernelConfig& config) const {
  return failed_.contains(config_text(config));
}

bool History::passed(const KernelConfig& config, int64_t m, Policy policy) const {
  return !failed(config) && best_row_.contains(Key{config_text(config), m, policy});
}

std::vector<const Measurement*> History::ranking(int64_t m, Policy policy) const {
  std::vector<const Measurement*> ranked;
  for (const auto& [key, index] : best_row_) {
    if (key.m != m || key.policy != policy || failed_.contains(key.config)) continue;
    ranked.push_back(&rows_[index]);
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const Measurement* a, const Measurement* b) {
    return a->timing.median_us < b->timing.median_us;
  });
  return ranked;
}

Trials History::trials(int64_t m, std::span<const Policy> policies) const {
  std::vector<const Measurement*> rows;
  for (const Measurement& row : rows_) {
    if (row.m == m && row.verdict == Verdict::ok) rows.push_back(&row);
  }
  std::stable_sort(rows.begin(), rows.end(), [](auto* a, auto* b) { return a->id < b->id; });
  Trials trials;
  std::map<std::string, std::vector<Measurement>> open;  // first rows, until each policy has one
  for (const Measurement* row : rows) {
    const std::string config = config_text(row->kernel.config);
    if (failed_.contains(config) || !settled(row->kernel.config, m, policies)) continue;
    if (std::count(policies.begin(), policies.end(), row->policy) == 0) continue;
    std::vector<Measurement>& first = open[config];
    const auto same = [&](const Measurement& known) { return known.policy == row->policy; };
    if (std::any_of(first.begin(), first.end(), same)) continue;
    first.push_back(*row);
    if (first.size() == policies.size()) trials.pass(first);
  }
  return trials;
}

const Measurement* History::find(int64_t id) const {
  const auto found = std::find_if(rows_.begin(), rows_.end(),
                                  [&](const Measurement& row) { return row.id == id; });
  return found == rows_.end() ? nullptr : &*found;
}

}  // namespace nvfp4
