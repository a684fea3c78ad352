// SPDX-License-Identifier: Apache-2.0
// What the database already knows about a problem on this device with this machine code: what need
// not be measured again, what failed, and which candidates lead.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tuner/patience.h"
#include "tuning_db/records.h"

namespace nvfp4 {

/// Adds to `suspects` the configs that ended their worker (fault, hang), a death for each run in
/// which they did, whatever the toolchain.
void add_killers(std::vector<Suspect>& suspects, std::span<const Measurement> rows);

class History {
 public:
  /// Rows of other toolchains wait: their machine code may differ. Rows of benchmarks and imports
  /// are left out.
  History(std::vector<Measurement> measurements, const Toolchain& toolchain);

  /// Configs of the rows that wait, for one of `tokens`, fastest first and `limit` at most.
  std::vector<KernelConfig> waiting(std::span<const int64_t> tokens, size_t limit) const;

  /// This toolchain makes this machine code of the config: rows of the same code count again.
  void readmit(const KernelConfig& config, std::string_view code_hash);

  void add(const Measurement& measurement);

  /// True when the config failed somewhere, or has a time under each policy at M.
  bool settled(const KernelConfig& config, int64_t m, std::span<const Policy> policies) const;

  /// True when the config failed at any M.
  bool failed(const KernelConfig& config) const;

  /// True when the config has a time at (m, policy) and failed nowhere.
  bool passed(const KernelConfig& config, int64_t m, Policy policy) const;

  /// What has passed at M under all policies, in the order of the rows.
  Trials trials(int64_t m, std::span<const Policy> policies) const;

  /// The best-founded row (most samples) of each config that passed at (m, policy), fastest first.
  std::vector<const Measurement*> ranking(int64_t m, Policy policy) const;

  /// The row with this id, or null.
  const Measurement* find(int64_t id) const;

  const std::vector<Measurement>& rows() const { return rows_; }

 private:
  struct Key {
    std::string config;
    int64_t m;
    Policy policy;
    auto operator<=>(const Key&) const = default;
  };

  std::vector<Measurement> rows_;
  std::vector<Measurement> waiting_;
  std::map<Key, size_t> best_row_;         ///< index into rows_
  std::map<std::string, Verdict> failed_;  ///< by config text
};

}  // namespace nvfp4
