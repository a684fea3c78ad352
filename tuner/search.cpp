// SPDX-License-Identifier: Apache-2.0
// Candidate choice and tie breaking.
#include "tuner/search.h"

#include <llvm/ADT/SmallVector.h>
#include <llvm/ADT/StringSet.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <tuple>

#include "generator/candidate_space.h"
#include "generator/config_text.h"
#include "generator/legality.h"

namespace nvfp4 {
namespace {

constexpr int kFamilyProposals = 4;
constexpr size_t kNeighbours = 4;

// Collects candidates: each config once, only legal ones, blocked ones never.
class Selection {
 public:
  Selection(const Problem& problem, const Device& device, const SearchOptions& options)
      : problem_(problem), device_(device), options_(options) {
    for (const Suspect& suspect : options.suspects) {
      if (suspect.blocked()) seen_.insert(config_text(suspect.config));
    }
  }

  bool add(KernelConfig config, Origin origin) {
    if (origin != Origin::requested) config.pdl = options_.pdl;
    if (illegal_reason(config, problem_, device_)) return false;
    if (!seen_.insert(config_text(config)).second) return false;
    chosen_.push_back({.config = config, .origin = origin});
    return true;
  }

  std::vector<Candidate> take() {
    // A candidate that was in flight when a tuner died may do it again: the others come first.
    for (Candidate& candidate : chosen_) {
      candidate.suspect =
          std::any_of(options_.suspects.begin(), options_.suspects.end(),
                      [&](const Suspect& s) { return s.config == candidate.config; });
    }
    std::stable_partition(chosen_.begin(), chosen_.end(),
                          [](const Candidate& candidate) { return !candidate.suspect; });
    return std::move(chosen_);
  }

 private:
  const Problem& problem_;
  const Device& device_;
  const SearchOptions& options_;
  llvm::StringSet<> seen_;
  std::vector<Candidate> chosen_;
};

// A uniform index below `count`, the same with every standard library.
size_t pick(std::mt19937_64& random, size_t count) {
  return static_cast<size_t>((static_cast<unsigned __int128>(random()) * count) >> 64);
}

}  // namespace

std::string_view name(Origin origin) {
  switch (origin) {
    case Origin::requested:
      return "requested";
    case Origin::default_config:
      return "default";
    case Origin::winner:
      return "winner";
    case Origin::neighbour:
      return "neighbour";
    case Origin::model:
      return "model";
    case Origin::exploration:
      return "exploration";
  }
  return "";
}

PastWinners past_winners(std::span<const Winner> stored, const DeviceKey& device,
                         const Problem& problem, int64_t m, bool chosen) {
  PastWinners past;
  std::multimap<int64_t, KernelConfig> near;  // by how far the shape's size is from this one
  for (const Winner& winner : stored) {
    if (winner.device != device || winner.problem.act != problem.act) continue;
    if (chosen && winner.origin != WinnerOrigin::imported) continue;
    if (winner.problem == problem) {
      past.winners.push_back(winner.config);
    } else if (winner.problem.kind == problem.kind && winner.interval.contains(m)) {
      const int64_t size = winner.problem.n * winner.problem.k;
      near.emplace(std::abs(size - problem.n * problem.k), winner.config);
    }
  }
  for (const auto& [distance, config] : near) {
    if (past.neighbours.size() < kNeighbours) past.neighbours.push_back(config);
  }
  return past;
}

std::vector<Candidate> choose_candidates(const Problem& problem, int64_t m, const Device& device,
                                         const SearchOptions& options) {
  Selection selection(problem, device, options);
  if (!options.requested.empty()) {
    for (const KernelConfig& config : options.requested) selection.add(config, Origin::requested);
    return selection.take();
  }

  const llvm::SmallVector<KernelConfig, 0> space = candidates(problem, m, device);
  selection.add(space.front(), Origin::default_config);
  for (const KernelConfig& config : options.winners) selection.add(config, Origin::winner);
  for (const KernelConfig& config : options.neighbours) selection.add(config, Origin::neighbour);

  // The model orders the configs of one family better than the families: each has its best tried.
  for (const Family family : {Family::mma, Family::wgmma}) {
    int missing = kFamilyProposals;
    for (const KernelConfig& config : space) {
      if (missing == 0) break;
      if (config.family != family) continue;
      selection.add(config, Origin::model);
      --missing;
    }
  }

  const auto share = static_cast<int>(std::ceil(options.max_candidates * options.exploration));
  const size_t proposed =
      std::min<size_t>(space.size(), std::max(options.max_candidates - share, 1));
  std::mt19937_64 random(options.seed ^ static_cast<uint64_t>(m) * 0x9e3779b97f4a7c15u);
  llvm::SmallVector<KernelConfig, 0> rest(space.begin() + proposed, space.end());
  const auto explore = [&] {
    while (!rest.empty()) {
      std::swap(rest[pick(random, rest.size())], rest.back());
      if (selection.add(rest.pop_back_val(), Origin::exploration)) break;
    }
  };
  size_t left = options.max_candidates > 1 ? share : 0;
  const size_t stride = std::max<size_t>(proposed / std::max<size_t>(left, 1), 1);
  for (size_t i = 0; i < proposed; ++i) {
    selection.add(space[i], Origin::model);
    // Among the proposals and not behind them: a search that ends early has explored, too.
    if (left == 0 || i % stride != stride - 1) continue;
    explore();
    --left;
  }
  for (; left > 0; --left) explore();
  return selection.take();
}

size_t choose_winner(std::span<const Finalist> finalists, double tie_band) {
  auto content = [](const Finalist& f) {
    return std::tuple(!f.is_default, uses_workspace(f.config),
                      f.config.schedule == Schedule::stream_k, f.config.split_k,
                      smem_bytes(f.config), threads(f.config), config_text(f.config));
  };
  double fastest = finalists.front().ratio;
  for (const Finalist& finalist : finalists) fastest = std::min(fastest, finalist.ratio);
  size_t best = finalists.size();
  for (size_t i = 0; i < finalists.size(); ++i) {
    const double band = std::max(tie_band, finalists[i].uncertainty);
    if (finalists[i].ratio > fastest * (1 + band)) continue;
    if (best == finalists.size() || content(finalists[i]) < content(finalists[best])) best = i;
  }
  return best;
}

}  // namespace nvfp4
