// SPDX-License-Identifier: Apache-2.0
// Records that a tuner could have written, for tests of the database and of lookup.
#pragma once

#include <string>

#include "generator/device.h"
#include "generator/template_bundle.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {

inline Device h100(bool emulated = false) {
  Device device = find_part("h100")->device;
  device.emulated = emulated;
  return device;
}

inline Problem square_problem(int64_t size = 4096) {
  return {.n = size, .k = size, .arch = {9, 0, true}};
}

inline KernelConfig config_of(int block_m, int num_stages = 3) {
  KernelConfig config;
  config.block_m = block_m;
  config.num_stages = num_stages;
  return config;
}

inline RunRecord run_on(const Device& device) {
  return {.device = key_of(device),
          .device_name = device.name,
          .toolchain = {"13.0", "13.0", template_digest()},
          .command = "nvfp4-tune --shape 4096,4096 --M 64",
          .date = "2026-01-02T03:04:05Z",
          .seed = ~uint64_t{0},
          .source_commit = "v1.2-3-gabcdef0",
          .driver_release = "580.159.04",
          .stream_gbps = 2994.5,
          .tensor_tflops = 757.5};
}

inline Measurement measurement_of(const KernelConfig& config, int64_t m, double us,
                                  Provenance provenance = Provenance::measured) {
  Measurement row;
  row.kernel = {.config = config,
                .source_hash = std::string(64, 'a'),
                .code_hash = std::string(64, 'b'),
                .registers = 128,
                .smem_bytes = 49152};
  row.problem = square_problem();
  row.m = m;
  row.provenance = provenance;
  row.timing = {.median_us = us,
                .q1_us = us * 0.99,
                .q3_us = us * 1.01,
                .samples = 3,
                .gbps = 2000,
                .pct_ceiling = 65,
                .tflops = 100,
                .f = 0.85,
                .clock_mhz = 1755,
                .launch_us = us * 0.85,
                .temperature_c = 41};
  row.samples_us = {static_cast<float>(us), 1.5f, 2.25f};
  return row;
}

inline Measurement failed(const KernelConfig& config, int64_t m, Verdict verdict,
                          const std::string& text) {
  Measurement row = measurement_of(config, m, 1);
  row.verdict = verdict;
  row.text = text;
  row.timing = {};
  row.samples_us.clear();
  return row;
}

inline Winner winner_of(const Device& device, const Measurement& row, int64_t evidence) {
  Winner winner;
  winner.device = key_of(device);
  winner.problem = row.problem;
  winner.policy = row.policy;
  winner.provenance = row.provenance;
  winner.interval = tile_interval(row.kernel.config, row.m);
  winner.m_tuned = row.m;
  winner.config = row.kernel.config;
  winner.evidence = evidence;
  winner.code_hash = row.kernel.code_hash;
  winner.expected_us = row.timing.median_us;
  winner.f = row.timing.f;
  return winner;
}

/// Adds a measurement and makes it the winner of its tile.
inline Winner add_winner(TuningDb& database, int64_t run, const Device& device,
                         const Measurement& row) {
  const Winner winner = winner_of(device, row, database.add(run, row));
  database.store(winner);
  return winner;
}

}  // namespace nvfp4
