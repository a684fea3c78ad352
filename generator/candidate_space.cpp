// SPDX-License-Identifier: Apache-2.0
// The enumeration lists tile heights that fill whole waves of this device for this N, not a fixed
// list: 15360 rows over 132 SMs want 128-row tiles, 21504 want 176.
#include "generator/candidate_space.h"

#include <llvm/ADT/STLExtras.h>

#include <algorithm>

#include "generator/config_text.h"
#include "generator/cost_model.h"
#include "generator/launch_plan.h"
#include "generator/legality.h"
#include "generator/occupancy.h"

namespace nvfp4 {
namespace {

constexpr int kMaxCandidates = 400;
constexpr int kFamilyCandidates =
    100;  // of each family at least: the model may prefer the wrong one

using IntList = llvm::SmallVector<int, 16>;

// Token tiles: the few that cover m with the least padding, and smaller ones for more parallelism.
IntList token_tiles(int64_t m) {
  IntList list;
  const int64_t needed = (m + kTokenTile - 1) / kTokenTile * kTokenTile;
  for (const int block : {8, 16, 24, 32, 48, 64, 96, 128}) {
    if (block > needed && !list.empty()) break;
    const int64_t covered = (m + block - 1) / block * block;
    if (block < 64 && needed > 4 * block) continue;
    if (covered <= needed + needed / 4) list.push_back(block);
  }
  return list;
}

// Tile heights: the least that finish n in 1..4 waves of 1..4 CTAs an SM, and the plain powers of
// two.
IntList tile_heights(const Problem& problem, int64_t tiles_m, int warps_n, const Device& device) {
  IntList list;
  const int granule = kUnitRows * warps_n;
  const auto add = [&](int64_t rows) {
    const int64_t height = (rows + granule - 1) / granule * granule;
    if (height >= granule && height <= 256 && !llvm::is_contained(list, height))
      list.push_back(int(height));
  };
  for (int ctas = 1; ctas <= 8; ++ctas) {
    const int64_t columns = std::max<int64_t>(1, int64_t{device.sm_count} * ctas / tiles_m);
    add((problem.n + columns - 1) / columns);
  }
  for (const int height : {16, 32, 64, 128, 256}) add(height);
  return list;
}

// Depths worth trying: the deepest that fits the residency asked for, and two shallower ones.
IntList stage_counts(KernelConfig config, const Device& device) {
  const int share = std::min(device.smem_per_block, device.smem_per_sm / config.ctas_per_sm - 1024);
  const bool wgmma = is_wgmma(config);
  const int fixed =
      patch_bytes(config) + exchange_bytes(config) + (wgmma ? kMaxWgmmaStages * 16 + 16 : 0);
  const int deepest = std::min(wgmma ? kMaxWgmmaStages : kMaxStages,
                               (share - fixed) / (config.warps_k * stage_bytes(config)));
  IntList list;
  for (const int stages : {deepest, (deepest + 3) / 2, 3}) {
    if (stages >= 2 && stages <= deepest && !llvm::is_contained(list, stages))
      list.push_back(stages);
  }
  return list;
}

class Collector {
 public:
  /// `whole_tiles`: no schedule that shares a tile between CTAs.
  Collector(const Problem& problem, int64_t m, const Device& device, bool whole_tiles)
      : problem_(problem), m_(m), device_(device), whole_tiles_(whole_tiles) {}

  void add(const KernelConfig& config) {
    if (illegal_reason(config, device_)) return;
    ranked_.push_back({config, estimate(config, problem_, m_, device_).seconds});
  }

  void add_schedules(KernelConfig config) {
    add(config);
    if (whole_tiles_) return;
    const LaunchPlan plan = launch_plan(config, problem_, m_, device_);
    const int64_t tiles = int64_t{plan.tiles_n} * plan.tiles_m;
    const int64_t slots = int64_t{device_.sm_count} * config.ctas_per_sm;
    const int64_t steps = (problem_.k + config.block_k - 1) / config.block_k;
    // Sharing a tile between CTAs only ever pays when whole tiles leave SMs without work.
    if (tiles % slots == 0) return;
    config.schedule = Schedule::split_k;
    for (const int split : {2, 3, 4, 6, 8}) {
      config.split_k = split;
      if (tiles * split <= 2 * slots && steps >= int64_t{split} * config.warps_k) add(config);
    }
    config.split_k = 1;
    config.schedule = Schedule::stream_k;
    if (tiles <= 16 * slots && tiles * steps < (int64_t{1} << 31)) add(config);
  }

  // Whole tiles, and where they leave clusters without work in the last round, a line of steps.
  void add_line(KernelConfig config) {
    add(config);
    if (config.cluster_k != 1) return;
    const int64_t rows = int64_t{config.block_n} * config.cluster_n;
    const int64_t tiles =
        (problem_.n + rows - 1) / rows * ((m_ + config.block_m - 1) / config.block_m);
    const int64_t clusters = resident_clusters(config, device_);
    if (tiles <= clusters || tiles % clusters == 0) return;
    // On the line every cluster is somewhere else in k and the tokens, which L2 must hold: 3234 us,
    // and 2579 of whole tiles, at 8192 x 28672, M = 4096 (235 MB of activations, H100).
    if (m_ * problem_.k * 2 > device_.l2_bytes) return;
    config.schedule = Schedule::stream_k;
    add(config);
  }

  llvm::SmallVector<KernelConfig, 0> take() {
    llvm::sort(ranked_, [](const Ranked& a, const Ranked& b) {
      if (a.seconds != b.seconds) return a.seconds < b.seconds;
      return config_text(a.config) < config_text(b.config);
    });
    const auto of_family = [&](Family family) {
      return int(
          llvm::count_if(ranked_, [&](const Ranked& r) { return r.config.family == family; }));
    };
    int left = kMaxCandidates;  // places
    int kept[] = {0, 0};        // of them taken, by family
    int reserved[] = {std::min(kFamilyCandidates, of_family(Family::mma)),
                      std::min(kFamilyCandidates, of_family(Family::wgmma))};
    llvm::SmallVector<KernelConfig, 0> configs;
    for (const Ranked& r : ranked_) {
      const int mine = r.config.family == Family::wgmma;
      const int others = std::max(0, reserved[1 - mine] - kept[1 - mine]);
      if (left <= others) continue;
      ++kept[mine];
      --left;
      configs.push_back(r.config);
    }
    return configs;
  }

 private:
  struct Ranked {
    KernelConfig config;
    double seconds;
  };
  const Problem& problem_;
  int64_t m_;
  const Device& device_;
  bool whole_tiles_;
  llvm::SmallVector<Ranked, 0> ranked_;
};

// Experts do not have equally many tokens: tiles for twice the average are tried too.
IntList token_tiles_of(const Problem& problem, int64_t m) {
  if (problem.kind == ProblemKind::dense) return token_tiles(m);
  const int64_t average = dense_product(problem, m).m;
  IntList list = token_tiles(average);
  for (const int block : token_tiles(2 * average)) {
    if (!llvm::is_contained(list, block)) list.push_back(block);
  }
  return list;
}

void add_mma(Collector& collector, const Problem& problem, int64_t m, const IntList& tokens,
             const Device& device) {
  for (const int block_m : tokens) {
    for (const int warps_n : {1, 2, 4}) {
      const int64_t tiles_m = (m + block_m - 1) / block_m;
      for (const int block_n : tile_heights(problem, tiles_m, warps_n, device)) {
        for (const int warps_k : {1, 2, 3, 4, 6, 8, 16}) {
          const int warps = warps_n * warps_k;
          if (warps < 2 || warps > 16) continue;
          for (const int ctas : {1, 2, 3, 4}) {
            for (const int block_k : {64, 128}) {
              KernelConfig config{.act = problem.act,
                                  .block_n = block_n,
                                  .block_m = block_m,
                                  .block_k = block_k,
                                  .warps_n = warps_n,
                                  .warps_k = warps_k,
                                  .ctas_per_sm = ctas,
                                  .pdl = device.arch.major >= 9};
              for (const int stages : stage_counts(config, device)) {
                config.num_stages = stages;
                collector.add_schedules(config);
              }
            }
          }
        }
      }
    }
  }
}

// Token tiles of the wgmma family: the whole of m where it fits, else even shares of it.
IntList wgmma_token_tiles(int64_t m) {
  IntList list;
  const int64_t needed = (m + kTokenTile - 1) / kTokenTile * kTokenTile;
  for (const int parts : {1, 2, 3, 4, 6, 8}) {
    const int64_t share = (needed / kTokenTile + parts - 1) / parts * kTokenTile;
    for (const int granule : {8, 16, 32}) {
      const int64_t block = (share + granule - 1) / granule * granule;
      if (block > 256 || block < std::min<int64_t>(needed, 32)) continue;
      if (!llvm::is_contained(list, block)) list.push_back(int(block));
    }
  }
  if (needed > 256) {
    // 176: the most of which four stages of 128 x 128 fit. 610 instead of 618 us at 5376 x 21504
    // and 455 instead of 470 at 5376 x 16384, M = 2048 (H100).
    for (const int block : {128, 176, 192, 256}) {
      if (!llvm::is_contained(list, block)) list.push_back(block);
    }
  }
  return list;
}

struct Cluster {
  int n, k;
};
constexpr Cluster kClusters[] = {{1, 1}, {2, 1}, {4, 1}, {1, 2}, {1, 3},
                                 {1, 4}, {2, 2}, {2, 4}, {4, 2}};

void add_wgmma(Collector& collector, const Problem& problem, int64_t m, const Device& device) {
  KernelConfig config{.family = Family::wgmma, .act = problem.act, .warps_k = 1, .pdl = true};
  const auto add_depths = [&] {
    for (const int block_k : {64, 128, 256}) {
      config.block_k = block_k;
      for (const int stages : stage_counts(config, device)) {
        config.num_stages = stages;
        collector.add_line(config);
      }
    }
  };
  const auto add_warps = [&] {
    for (const int slots : {1, 2}) {
      config.warps_n = config.block_n / (slots * kUnitRows);
      if (warps(config) <= 16) add_depths();
    }
  };
  for (const int block_m : wgmma_token_tiles(m)) {
    config.block_m = block_m;
    for (const Cluster& cluster : kClusters) {
      config.cluster_n = cluster.n;
      config.cluster_k = cluster.k;
      for (config.ctas_per_sm = 1; config.ctas_per_sm <= 3; ++config.ctas_per_sm) {
        for (const int block_n : {64, 128, 192, 256}) {
          config.block_n = block_n;
          add_warps();
        }
      }
    }
  }
}

}  // namespace

llvm::SmallVector<KernelConfig, 0> candidates(const Problem& problem, int64_t m,
                                              const Device& device) {
  const bool grouped = problem.kind == ProblemKind::grouped;
  const DenseProduct product = dense_product(problem, m);
  Collector collector(product.problem, product.m, device, grouped);
  add_mma(collector, product.problem, product.m, token_tiles_of(problem, m), device);
  if (device.arch.major == 9 && device.arch.accelerated && !grouped) {
    add_wgmma(collector, problem, m, device);
  }
  return collector.take();
}

KernelConfig default_config(const Problem& problem, int64_t m, const Device& device) {
  return candidates(problem, m, device).front();
}

}  // namespace nvfp4
