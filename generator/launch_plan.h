// SPDX-License-Identifier: Apache-2.0
// The grid, block, shared memory and workspace with which a config runs a problem at one M: the
// only place where launch geometry is computed, for the library, the tuner and the tests alike.
#pragma once

#include <cstdint>

#include "generator/device.h"
#include "generator/problem.h"
#include "templates/kernel_config.h"

namespace nvfp4 {

struct LaunchPlan {
  int64_t grid = 0;  ///< CTAs, one dimension
  int cluster = 1;   ///< CTAs of a cluster; divides the grid
  int threads = 0;
  int smem_bytes = 0;
  int tiles_n = 0;
  int tiles_m = 0;
  int64_t counter_bytes = 0;    ///< head of the workspace, zero between launches
  int64_t workspace_bytes = 0;  ///< counters and partials

  /// The activations as a tensor map for the copy engine, where the family wants one: boxes of
  /// box_tokens x 64 of [m, k], 128-byte swizzle. 0: no map.
  int box_tokens = 0;
  int64_t k = 0;
  Activation act = Activation::bf16;
};

/// For a grouped problem: CTAs for as many tiles as the worst distribution of m tokens makes.
LaunchPlan launch_plan(const KernelConfig& config, const Problem& problem, int64_t m,
                       const Device& device);

/// Clusters of one config that run at once. A cluster lives in one GPC, and GPCs have odd numbers
/// of SMs: an H100 runs 66 clusters of two CTAs but 30 of four (cuOccupancyMaxActiveClusters).
int64_t resident_clusters(const KernelConfig& config, const Device& device);

}  // namespace nvfp4
