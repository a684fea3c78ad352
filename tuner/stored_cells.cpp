// SPDX-License-Identifier: Apache-2.0
// Winners to cells.
#include "tuner/stored_cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <tuple>

#include "generator/digest.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {
namespace {

auto order(const SuiteCell& cell) { return std::tuple(cell.shape.n, cell.shape.k, cell.m); }

void sort(std::vector<SuiteCell>& cells) {
  std::sort(cells.begin(), cells.end(),
            [](const SuiteCell& a, const SuiteCell& b) { return order(a) < order(b); });
}

}  // namespace

std::vector<SuiteCell> stored_cells(std::span<const std::string> paths, const DeviceKey& card,
                                    Activation act) {
  std::vector<SuiteCell> cells;
  for (const std::string& path : paths) {
    if (path.empty() || !std::filesystem::exists(path)) continue;
    TuningDb db(path, Access::read_only);
    for (const Winner& winner : db.winners()) {
      const Problem& problem = winner.problem;
      const bool ours = winner.device == card && problem.kind == ProblemKind::dense;
      if (!ours || problem.act != act) continue;
      cells.push_back({.shape = {problem.n, problem.k}, .m = winner.m_tuned});
    }
  }
  sort(cells);
  cells.erase(std::unique(cells.begin(), cells.end()), cells.end());
  return cells;
}

std::vector<SuiteCell> sampled(const std::vector<SuiteCell>& cells, double share, uint64_t seed) {
  std::map<int64_t, std::map<std::string, SuiteCell>> strata;  // by M, then in the seed's order
  for (const SuiteCell& cell : cells) {
    const std::string key = fmt::format("{} {} {} {}", seed, cell.shape.n, cell.shape.k, cell.m);
    strata[cell.m].emplace(sha256_hex(key), cell);
  }
  std::vector<SuiteCell> chosen;
  for (const auto& [m, stratum] : strata) {
    auto left = static_cast<int64_t>(std::ceil(share * static_cast<double>(stratum.size())));
    for (const auto& [key, cell] : stratum) {
      if (left-- > 0) chosen.push_back(cell);
    }
  }
  sort(chosen);
  return chosen;
}

}  // namespace nvfp4
