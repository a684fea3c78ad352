// SPDX-License-Identifier: Apache-2.0
// What the database already knows about a problem on this device with this toolchain: what need not
// be measured again, what failed, and which candidates lead.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tuning_db/records.h"

namespace nvfp4 {

/// Adds to `suspects` the configs that ended their worker (fault, hang), a death for each run in
/// which they did, whatever the toolchain.
void add_killers(std::vector<Suspect>& suspects, std::span<const Measurement> rows);

class History {
 public:
  /// Rows of other toolchains are left out: their machine code may differ.
  History(std::vector<Measurement> measurements, const Toolchain& toolchain);

  void add(const Measurement& measurement);

  /// True when the config failed somewhere, or has a time under each policy at M.
  bool settled(const KernelConfig& config, int64_t m, std::span<const Policy> policies) const;

  /// True when the config failed at any M.
  bool failed(const KernelConfig& config) const;

  /// True when the config has a time at (m, policy) and failed nowhere.
  bool passed(const KernelConfig& config, int64_t m, Policy policy) const;

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

  Toolchain toolchain_;
  std::vector<Measurement> rows_;
  std::map<Key, size_t> best_row_;         ///< index into rows_
  std::map<std::string, Verdict> failed_;  ///< by config text
};

}  // namespace nvfp4
