// SPDX-License-Identifier: Apache-2.0
#include "tuner/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "generator/launch_plan.h"

namespace nvfp4 {
namespace {

constexpr int64_t kActivationBytes = 2;  // bf16 and fp16

}  // namespace

MemoryPlan memory_plan(std::span<const PlannedGemm> gemms, int64_t other_weights, int64_t hidden,
                       int64_t m, Activation act, const Device& device, const Snapshot& snapshot) {
  MemoryPlan plan{.other_weights = other_weights};
  int64_t widest = 0;
  for (const PlannedGemm& gemm : gemms) {
    if (shape_error(gemm.n, gemm.k)) continue;  // a share that no rank can have: already a problem
    plan.packed_weights += gemm.packed_bytes;
    widest = std::max(widest, gemm.n + gemm.k);
    const Problem problem{.n = gemm.n, .k = gemm.k, .act = act, .arch = device.arch};
    const KernelConfig config = lookup(snapshot, problem, m, Policy::graph).config;
    plan.workspace =
        std::max(plan.workspace, launch_plan(config, problem, m, device).workspace_bytes);
  }
  plan.activations = (widest + hidden) * m * kActivationBytes;
  return plan;
}

std::string bytes_text(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes >= 1'000'000'000) return fmt::format("{:.2f} GB", value / 1e9);
  if (bytes >= 1'000'000) return fmt::format("{:.1f} MB", value / 1e6);
  if (bytes >= 1'000) return fmt::format("{:.1f} kB", value / 1e3);
  return fmt::format("{} B", bytes);
}

}  // namespace nvfp4
