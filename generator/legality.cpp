// SPDX-License-Identifier: Apache-2.0
// In the order in which a reader would check it: ranges, structure, resources.
#include "generator/legality.h"

#include <fmt/format.h>

#include "generator/config_text.h"
#include "generator/occupancy.h"

namespace nvfp4 {
namespace {

constexpr int kMaxClusterCtas = 8;  // portable cluster size
constexpr int kNamedBarriers = 15;

std::optional<std::string> outside(const char* field, int value, int low, int high) {
  if (value >= low && value <= high) return std::nullopt;
  return fmt::format("{} = {} is outside {}..{}", field, value, low, high);
}

std::optional<std::string> not_multiple(const char* field, int value, int of) {
  if (value % of == 0) return std::nullopt;
  return fmt::format("{} = {} is not a multiple of {}", field, value, of);
}

// Ranges that keep every derived size far from overflow; checked before anything is derived.
std::optional<std::string> range_reason(const KernelConfig& c) {
  const bool wgmma = is_wgmma(c);
  if (auto r = outside("block_n", c.block_n, 16, wgmma ? 512 : 256)) return r;
  if (auto r = outside("block_m", c.block_m, 8, wgmma ? 256 : 128)) return r;
  if (auto r = outside("block_k", c.block_k, 64, 512)) return r;
  if (auto r = outside("warps_n", c.warps_n, 1, 16)) return r;
  if (auto r = outside("warps_k", c.warps_k, 1, wgmma ? 1 : 16)) return r;
  if (auto r = outside("num_stages", c.num_stages, 2, wgmma ? kMaxWgmmaStages : kMaxStages))
    return r;
  if (auto r = outside("split_k", c.split_k, 1, 16)) return r;
  if (auto r = outside("ctas_per_sm", c.ctas_per_sm, 1, 8)) return r;
  if (auto r = outside("cluster_n", c.cluster_n, 1, kMaxClusterCtas)) return r;
  if (auto r = outside("cluster_k", c.cluster_k, 1, kMaxClusterCtas)) return r;
  if (auto r = not_multiple("block_n", c.block_n, kUnitRows * c.warps_n)) return r;
  if (auto r = not_multiple("block_m", c.block_m, kTokenTile)) return r;
  if (auto r = not_multiple("block_k", c.block_k, 64)) return r;
  return std::nullopt;
}

std::optional<std::string> mma_reason(const KernelConfig& c) {
  if (cluster_ctas(c) != 1) return std::string("family mma has no clusters");
  if (c.block_m > 64) {
    if (auto r = not_multiple("block_m", c.block_m, 2 * kTokenTile)) return r;  // loaded in pairs
  }
  if (c.schedule == Schedule::split_k ? c.split_k < 2 : c.split_k != 1) {
    return fmt::format("split_k = {} does not go with schedule {}", c.split_k, name(c.schedule));
  }
  if (c.warps_n > 1 && c.warps_k > kNamedBarriers) {
    return fmt::format("warps_k = {} groups exceed {} named barriers", c.warps_k, kNamedBarriers);
  }
  return std::nullopt;
}

std::optional<std::string> wgmma_reason(const KernelConfig& c, const Device& device) {
  if (!device.arch.accelerated || device.arch.major != 9) {
    return fmt::format("family wgmma needs sm_90a, the device is {}", sm_name(device.arch));
  }
  if (auto r = not_multiple("warps_n", c.warps_n, 4)) return r;  // whole warpgroups
  if (c.schedule == Schedule::split_k || c.split_k != 1) {
    return fmt::format("schedule {} with split_k = {} is not wgmma's: it shares tiles by cluster_k",
                       name(c.schedule), c.split_k);
  }
  if (c.schedule == Schedule::stream_k && c.cluster_k != 1) {
    return fmt::format("cluster_k = {} does not go with schedule stream_k", c.cluster_k);
  }
  if (cluster_ctas(c) > kMaxClusterCtas) {
    return fmt::format("{} CTAs of a cluster exceed {}", cluster_ctas(c), kMaxClusterCtas);
  }
  if (auto r = not_multiple("block_m", c.block_m, kTokenTile * c.cluster_n)) return r;
  // A warp looks for its next stage before it has released the last but one if a stage is one
  // group.
  const int held = units_per_warp(c) * k_tiles_per_stage(c) == 1 ? 2 : 1;
  if (c.num_stages <= held) {
    return fmt::format("num_stages = {} leaves no stage ahead of the {} in use", c.num_stages,
                       held);
  }
  return std::nullopt;
}

std::optional<std::string> structure_reason(const KernelConfig& c, const Device& device) {
  if (c.pdl && device.arch.major < 9) {
    return fmt::format("pdl needs sm_90, the device is {}", sm_name(device.arch));
  }
  return is_wgmma(c) ? wgmma_reason(c, device) : mma_reason(c);
}

std::optional<std::string> resource_reason(const KernelConfig& c, const Device& device) {
  if (threads(c) > 1024) return fmt::format("{} threads exceed 1024", threads(c));
  if (smem_bytes(c) > device.smem_per_block) {
    return fmt::format("shared memory {} exceeds {} for {}", smem_bytes(c), device.smem_per_block,
                       sm_name(device.arch));
  }
  // ptxas gives an instruction no more than the launch's registers, whatever setmaxnreg adds later:
  // a wgmma of block_m tokens wants 30 beside its sums (C7602).
  if (const int need = c.block_m / 2 + 30; is_wgmma(c) && need > launch_registers(c)) {
    return fmt::format("a wgmma of {} registers exceeds the {} of the launch", need,
                       launch_registers(c));
  }
  if (const int need = estimated_registers(c); need > register_budget(c)) {
    return fmt::format("about {} registers a thread exceed {}", need, register_budget(c));
  }
  if (const int fit = resident_ctas(c, device); fit < c.ctas_per_sm) {
    return fmt::format("ctas_per_sm = {} exceeds the {} that fit {}", c.ctas_per_sm, fit,
                       sm_name(device.arch));
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> illegal_reason(const KernelConfig& config, const Device& device) {
  if (auto reason = range_reason(config)) return reason;
  if (auto reason = structure_reason(config, device)) return reason;
  return resource_reason(config, device);
}

std::optional<std::string> illegal_reason(const KernelConfig& config, const Problem& problem,
                                          const Device& device) {
  if (problem.kind == ProblemKind::grouped) {
    if (is_wgmma(config)) return std::string("family wgmma has no grouped kernels");
    if (config.schedule != Schedule::data_parallel) {
      return fmt::format("schedule {} is not for grouped kernels", name(config.schedule));
    }
  }
  return illegal_reason(config, device);
}

}  // namespace nvfp4
