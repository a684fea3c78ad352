// SPDX-License-Identifier: Apache-2.0
// Bounds that hold for any kernel, from the device's key alone and with room for rounding.
#include "tuning_db/plausible.h"

#include <fmt/format.h>

#include <algorithm>

#include "generator/legality.h"

namespace nvfp4 {
namespace {

constexpr double kBytesPerWeight = 0.5625;
// The ceiling is of launches that wait for each other, so that small kernels in dependent launches
// exceed it: 1.064 is the most among the winners that an H100 gave.
constexpr double kMostF = 1.1;
constexpr double kBoost = 1.2;          // a clock above the data sheet's
constexpr int kReservedSmem = 1 << 10;  // of an SM beyond what one block gets, on every part

/// Matrix rate of one SM of this architecture, of the fastest part that we know; 0: of none.
double flops_per_sm(Arch arch) {
  double most = 0;
  for (const KnownPart& part : known_parts()) {
    if (part.device.arch.number() != arch.number()) continue;
    most = std::max(most, part.device.tensor_flops / part.device.sm_count);
  }
  return most;
}

/// A card of this key; in what the key does not say, as able as any.
Device able(const DeviceKey& key) {
  return {.arch = key.arch,
          .sm_count = key.sm_count,
          .l2_bytes = key.l2_bytes,
          .smem_per_block = key.smem_per_block,
          .smem_per_sm = key.smem_per_block + kReservedSmem};
}

}  // namespace

std::optional<std::string> implausible(const Measurement& row) {
  if (row.verdict != Verdict::ok) return std::nullopt;
  if (const auto why = illegal_reason(row.kernel.config, row.problem, able(row.device))) {
    return "its card cannot run it: " + *why;
  }
  const Timing& t = row.timing;
  const double weights = static_cast<double>(row.problem.n) * static_cast<double>(row.problem.k);
  // Padding aside. Of a grouped problem a timed launch reads the weights of its busy experts.
  const double matrices = row.problem.kind == ProblemKind::dense
                              ? 1
                              : static_cast<double>(busy_experts(row.problem.experts, row.m));
  // The class is rounded to 100 GB/s.
  const double bandwidth = 100e9 * (row.device.bandwidth_class + 0.5);
  const double read_us = matrices * weights * kBytesPerWeight / bandwidth * 1e6;
  if (t.median_us < read_us) {
    return fmt::format("{:.3f} us is less than the {:.3f} us that reading the weights takes",
                       t.median_us, read_us);
  }
  const double flops = kBoost * flops_per_sm(row.device.arch) * row.device.sm_count;
  const double matrix_us = flops > 0 ? 2 * static_cast<double>(row.m) * weights / flops * 1e6 : 0;
  if (t.median_us < matrix_us) {
    return fmt::format("{:.3f} us is less than the {:.3f} us that the products take", t.median_us,
                       matrix_us);
  }
  if (t.f > kMostF) return fmt::format("F = {:.3f} exceeds {}", t.f, kMostF);
  return std::nullopt;
}

}  // namespace nvfp4
