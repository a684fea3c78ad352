// SPDX-License-Identifier: Apache-2.0
// Which kernel answers for (problem, m): a pure selection over winners that were read into memory
// once. No GPU, no file and no SQLite behind a Snapshot; emulated rows never answer for a real
// card, nor the reverse.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "generator/device.h"
#include "generator/problem.h"
#include "tuning_db/records.h"

namespace nvfp4 {

/// How closely the answering row fits the asked M, best first.
enum class Match : int {
  exact = 0,   ///< tuned at this M
  m_interval,  ///< tuned at another M of the same token tile
  near_m,      ///< outside every interval: the nearest larger tuned M
  policy,      ///< measured, but for another launch policy
  activation,  ///< measured, but for the other activation type
  fallback,    ///< no row: the cost model's default config
};

/// Where the answer came from.
enum class Layer : int { user = 0, shipped = 1, fallback = 2 };

/// "exact", "m_interval", "near_m", "other_policy", "other_act", "default"; "user", "shipped",
/// "default".
std::string_view name(Match match);
std::string_view name(Layer layer);

/// A config that can run, and what is known about it. Views live as long as the snapshot.
struct Selection {
  KernelConfig config;
  Match match = Match::fallback;
  Layer layer = Layer::fallback;
  Provenance provenance = Provenance::modelled;
  bool same_device = true;     ///< false: tuned on another card of the same arch
  double expected_us = 0;      ///< at m_tuned on this device; 0 when unknown
  double f = 0;                ///< fraction of the roofline; 0 when unknown
  int64_t m_tuned = 0;         ///< 0 for the default
  int64_t evidence = 0;        ///< measurement id in its layer's database; 0 for the default
  std::string_view code_hash;  ///< machine code that was measured; empty when unknown
};

/// The winners that may answer on one device, from every layer, immutable and safe to share between
/// threads.
class Snapshot {
 public:
  struct Entry {
    Winner winner;
    Layer layer = Layer::user;
  };

  /// Keeps what is legal on `device`, of its arch, equally emulated or real, and not imported.
  Snapshot(const Device& device, std::span<const Entry> entries);

  /// The best row for (problem, m, policy), empty when none fits. No allocation, no lock.
  std::optional<Selection> find(const Problem& problem, int64_t m, Policy policy) const noexcept;

  /// The M after which another row may answer for `problem`, under any policy and activation type;
  /// in no order.
  std::vector<int64_t> edges(const Problem& problem) const;

  const Device& device() const { return device_; }
  size_t size() const { return entries_.size(); }

 private:
  struct Ranked {
    Entry entry;
    int rank = 0;  ///< provenance: measured here, measured on the arch, modelled here, modelled
  };
  Device device_;
  std::vector<Ranked> entries_;  ///< grouped by (kind, layout, n, k, act, policy)
};

/// find(), else what was measured for another launch policy, else for the other activation type
/// (its time is then unknown), else the
/// cost model's default with its modelled time: never empty. The default enumerates candidates, so
/// a caller on a hot path keeps the answer.
Selection lookup(const Snapshot& snapshot, const Problem& problem, int64_t m, Policy policy);

/// What load_snapshot could not use, one line each.
using Warnings = std::vector<std::string>;

/// Reads the user's database (no path or no file: an empty layer) and the shipped ones. Never
/// throws for the contents or state of a file: what cannot be read is a warning and an empty layer.
Snapshot load_snapshot(const Device& device, const std::string& user_path,
                       std::span<const std::string> shipped_paths, Warnings& warnings);

}  // namespace nvfp4
