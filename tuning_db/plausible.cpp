// SPDX-License-Identifier: Apache-2.0
// Bounds that hold for any kernel, from the device's key alone and with room for rounding.
#include "tuning_db/plausible.h"

#include <fmt/format.h>

#include <algorithm>

namespace nvfp4 {
namespace {

constexpr double kBytesPerWeight = 0.5625;
constexpr double kMostF = 1.05;
constexpr double kBoost = 1.2;  // a clock above the data sheet's

/// Matrix rate of one SM of this architecture, of the fastest part that we know; 0: of none.
double flops_per_sm(Arch arch) {
  double most = 0;
  for (const KnownPart& part : known_parts()) {
    if (part.device.arch.number() != arch.number()) continue;
    most = std::max(most, part.device.tensor_flops / part.device.sm_count);
  }
  return most;
}

}  // namespace

std::optional<std::string> implausible(const Measurement& row) {
  if (row.verdict != Verdict::ok) return std::nullopt;
  const Timing& t = row.timing;
  const double weights = static_cast<double>(row.problem.n) * static_cast<double>(row.problem.k);
  // The class is rounded to 100 GB/s. Of a grouped problem one expert's weights are read at least.
  const double bandwidth = 100e9 * (row.device.bandwidth_class + 0.5);
  const double read_us = weights * kBytesPerWeight / bandwidth * 1e6;
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
