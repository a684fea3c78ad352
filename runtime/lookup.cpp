// SPDX-License-Identifier: Apache-2.0
#include "runtime/lookup.h"

#include <algorithm>
#include <filesystem>
#include <tuple>

#include "generator/candidate_space.h"
#include "generator/cost_model.h"
#include "generator/legality.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {
namespace {

/// A row answers for a smaller M outside its interval only this far away: a kernel made for
/// thousands of tokens leaves most SMs idle on a few, where the cost model's own choice is the
/// safer one.
constexpr int64_t kNearFactor = 4;

/// What every row of a group shares.
auto group_key(const Problem& p, Policy policy) {
  return std::tuple(p.n, p.k, p.act, p.kind, p.experts, p.layout, p.arch.number(),
                    p.arch.accelerated, policy);
}

int provenance_rank(Provenance provenance, bool same_device) {
  return (provenance == Provenance::measured ? 0 : 2) + (same_device ? 0 : 1);
}

Selection selection_of(const Snapshot::Entry& entry, Match match, bool same_device) {
  const Winner& winner = entry.winner;
  return {.config = winner.config,
          .match = match,
          .layer = entry.layer,
          .provenance = winner.provenance,
          .same_device = same_device,
          .expected_us = same_device ? winner.expected_us : 0,
          .f = same_device ? winner.f : 0,
          .m_tuned = winner.m_tuned,
          .evidence = winner.evidence,
          .code_hash = winner.code_hash};
}

void add_layer(const std::string& path, Layer layer, std::vector<Snapshot::Entry>& entries,
               Warnings& warnings) {
  try {
    TuningDb database(path, layer == Layer::user ? Access::read_only : Access::immutable);
    for (Winner& winner : database.winners()) entries.push_back({std::move(winner), layer});
    warnings.insert(warnings.end(), database.warnings().begin(), database.warnings().end());
  } catch (const std::runtime_error& error) {
    warnings.emplace_back(error.what());
  }
}

}  // namespace

std::string_view name(Match match) {
  constexpr std::string_view kNames[] = {"exact",        "m_interval", "near_m",
                                         "other_policy", "other_act",  "default"};
  return kNames[static_cast<int>(match)];
}

std::string_view name(Layer layer) {
  constexpr std::string_view kNames[] = {"user", "shipped", "default"};
  return kNames[static_cast<int>(layer)];
}

Snapshot::Snapshot(const Device& device, std::span<const Entry> entries) : device_(device) {
  const DeviceKey here = key_of(device);
  for (const Entry& entry : entries) {
    const Winner& winner = entry.winner;
    if (winner.device.emulated != here.emulated || winner.device.arch != here.arch) continue;
    if (winner.origin == WinnerOrigin::imported) continue;
    if (record_error(winner) || illegal_reason(winner.config, winner.problem, device)) continue;
    entries_.push_back({entry, provenance_rank(winner.provenance, winner.device == here)});
  }
  std::stable_sort(entries_.begin(), entries_.end(), [](const Ranked& a, const Ranked& b) {
    return group_key(a.entry.winner.problem, a.entry.winner.policy) <
           group_key(b.entry.winner.problem, b.entry.winner.policy);
  });
}

std::optional<Selection> Snapshot::find(const Problem& problem, int64_t m,
                                        Policy policy) const noexcept {
  const auto key = group_key(problem, policy);
  auto at = std::lower_bound(
      entries_.begin(), entries_.end(), key, [](const Ranked& row, const auto& wanted) {
        return group_key(row.entry.winner.problem, row.entry.winner.policy) < wanted;
      });

  // Rows whose interval holds m come before those that are only near. Among them provenance
  // decides, then how closely the row was made for m, then the layer.
  using Order = std::tuple<bool, int, bool, int64_t, Layer, int64_t>;
  const Ranked* best = nullptr;
  Order best_order;
  for (; at != entries_.end(); ++at) {
    const Winner& winner = at->entry.winner;
    if (group_key(winner.problem, winner.policy) != key) break;
    const bool inside = winner.interval.contains(m);
    const int64_t above = winner.m_tuned - m;
    if (!inside && (above < 0 || winner.m_tuned > kNearFactor * m)) continue;
    const Order order(!inside, at->rank, above != 0, inside ? winner.interval.width() : above,
                      at->entry.layer, above < 0 ? -above : above);
    if (best == nullptr || order < best_order) {
      best = &*at;
      best_order = order;
    }
  }
  if (best == nullptr) return std::nullopt;
  const Winner& winner = best->entry.winner;
  const Match match = !winner.interval.contains(m) ? Match::near_m
                      : winner.m_tuned == m        ? Match::exact
                                                   : Match::m_interval;
  return selection_of(best->entry, match, best->rank % 2 == 0);
}

std::vector<int64_t> Snapshot::edges(const Problem& problem) const {
  std::vector<int64_t> edges;
  for (const Ranked& row : entries_) {
    const Winner& winner = row.entry.winner;
    Problem asked = winner.problem;
    asked.act = problem.act;
    if (asked != problem) continue;
    edges.insert(edges.end(), {winner.interval.lo - 1, winner.interval.hi, winner.m_tuned,
                               (winner.m_tuned - 1) / kNearFactor});
  }
  return edges;
}

namespace {

// What was measured for launch policy `from` and activation type `act`, made to fit the asked ones.
std::optional<Selection> borrowed(const Snapshot& snapshot, const Problem& problem, int64_t m,
                                  Policy policy, Activation act, Policy from) {
  Problem measured = problem;
  measured.act = act;
  std::optional<Selection> found = snapshot.find(measured, m, from);
  if (!found || found->provenance != Provenance::measured) return std::nullopt;
  found->match = act == problem.act ? Match::policy : Match::activation;
  found->expected_us = found->f = 0;
  const KernelConfig config = found->config;
  found->config.act = problem.act;
  if (policy == Policy::graph_pdl && from != policy) found->config.pdl = true;
  if (found->config != config) found->code_hash = {};
  if (illegal_reason(found->config, problem, snapshot.device())) return std::nullopt;
  return found;
}

}  // namespace

Selection lookup(const Snapshot& snapshot, const Problem& problem, int64_t m, Policy policy) {
  if (const auto found = snapshot.find(problem, m, policy)) return *found;
  // Between policies and activation types the order of kernels changes less than between a
  // measurement and a model: of 24 winners tuned for fp16 on an H200 20 were bf16's.
  const Activation other_act =
      problem.act == Activation::bf16 ? Activation::fp16 : Activation::bf16;
  for (const Activation act : {problem.act, other_act}) {
    for (const Policy from : {policy, Policy::graph_pdl, Policy::graph, Policy::eager}) {
      if (const auto found = borrowed(snapshot, problem, m, policy, act, from)) return *found;
    }
  }
  Selection selection;
  selection.config = default_config(problem, m, snapshot.device());
  KernelConfig launched = selection.config;  // which gains from dependent launches only with them
  launched.pdl = launched.pdl && policy == Policy::graph_pdl;
  selection.expected_us = estimate(launched, problem, m, snapshot.device()).seconds * 1e6;
  return selection;
}

Snapshot load_snapshot(const Device& device, const std::string& user_path,
                       std::span<const std::string> shipped_paths, Warnings& warnings) {
  std::vector<Snapshot::Entry> entries;
  std::error_code ignored;
  if (!user_path.empty() && std::filesystem::exists(user_path, ignored)) {
    add_layer(user_path, Layer::user, entries, warnings);
  }
  for (const std::string& path : shipped_paths) {
    add_layer(path, Layer::shipped, entries, warnings);
  }
  return Snapshot(device, entries);
}

}  // namespace nvfp4
