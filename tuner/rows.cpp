// SPDX-License-Identifier: Apache-2.0
// Rows and their figures.
#include "tuner/rows.h"

#include <fmt/format.h>

#include <algorithm>

#include "generator/cost_model.h"
#include "generator/digest.h"
#include "runtime/code_hash.h"
#include "tuner/statistics.h"

namespace nvfp4 {
namespace {

// Fills what follows from the median.
void derive(Timing& timing, const Problem& problem, int64_t m, const Ceilings& ceilings) {
  const double seconds = timing.median_us * 1e-6;
  const auto bytes = static_cast<double>(weight_bytes(problem, m));
  const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(problem.n) *
                       static_cast<double>(problem.k);
  timing.gbps = bytes / seconds * 1e-9;
  timing.tflops = flops / seconds * 1e-12;
  if (ceilings.stream_bytes_per_s > 0) {
    timing.pct_ceiling = 100 * bytes / seconds / ceilings.stream_bytes_per_s;
  }
  timing.f = roofline_time(problem, m, ceilings) / seconds;
  timing.launch_us = ceilings.launch_seconds * 1e6;
}

std::string first_error(const std::string& log) {
  size_t begin = log.find("error");
  if (begin == std::string::npos) begin = 0;
  begin = log.rfind('\n', begin) == std::string::npos ? 0 : log.rfind('\n', begin) + 1;
  return log.substr(begin, log.find('\n', begin) - begin);
}

}  // namespace

KernelRecord kernel_record(const KernelConfig& config, std::string_view source,
                           const Compilation& compilation) {
  KernelRecord record{.config = config};
  if (!compilation.ok) return record;
  const KernelResources& resources = compilation.resources;
  record.source_hash = sha256_hex(source);
  record.code_hash = code_hash(compilation.cubin).value_or("");
  record.registers = resources.registers;
  record.spill_bytes = resources.spill_store_bytes + resources.spill_load_bytes;
  record.smem_bytes = smem_bytes(config) + resources.static_smem_bytes;
  return record;
}

std::optional<CompileFault> compile_fault(const Compilation& compilation) {
  if (!compilation.ok) return CompileFault{Verdict::compile_error, first_error(compilation.log)};
  const KernelResources& resources = compilation.resources;
  if (resources.spills()) {
    return CompileFault{Verdict::spill,
                        fmt::format("spills {} bytes to and {} bytes from memory",
                                    resources.spill_store_bytes, resources.spill_load_bytes)};
  }
  if (compilation.serialised_wgmma()) {
    return CompileFault{Verdict::constraint, "ptxas serialises its wgmma instructions"};
  }
  return std::nullopt;
}

double roofline_time(const Problem& problem, int64_t m, const Ceilings& ceilings) {
  const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(problem.n) *
                       static_cast<double>(problem.k);
  const double tensor = ceilings.tensor_flops > 0 ? flops / ceilings.tensor_flops : 0;
  return std::max(ceilings.launch_seconds, tensor);
}

Timing timing_of(const PolicyTimes& times, const Problem& problem, int64_t m,
                 const Ceilings& ceilings) {
  const Quartiles q = quartiles(times.samples_us);
  Timing timing{.median_us = q.median,
                .q1_us = q.q1,
                .q3_us = q.q3,
                .samples = static_cast<int>(times.samples_us.size()),
                .clock_mhz = times.clock_mhz,
                .throttled = times.throttled,
                .temperature_c = times.temperature_c};
  derive(timing, problem, m, ceilings);
  return timing;
}

Timing modelled_timing(const KernelConfig& config, const Problem& problem, int64_t m, Policy policy,
                       const Device& device, const Ceilings& ceilings) {
  // A kernel that is built for dependent launches gains from them only where they happen.
  KernelConfig launched = config;
  launched.pdl = config.pdl && policy == Policy::graph_pdl;
  const double us = estimate(launched, problem, m, device).seconds * 1e6;
  Timing timing{.median_us = us, .q1_us = us, .q3_us = us};
  derive(timing, problem, m, ceilings);
  return timing;
}

}  // namespace nvfp4
