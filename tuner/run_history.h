// SPDX-License-Identifier: Apache-2.0
// The recorded runs of a database: what a series is, how much the card's times move by themselves,
// and where a series took a step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tuner/noise_floor.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {

/// What is comparable with what: one text a card, problem, M, policy and provenance.
std::string series_key(const Measurement& row);

/// Everything that was measured, read once.
struct RunHistory {
  explicit RunHistory(TuningDb& db) : runs(db.runs()), rows(db.measurements()) {}

  std::vector<RunRecord> runs;
  std::vector<Measurement> rows;

  /// The run with this id, or null.
  const RunRecord* find(int64_t id) const;
  /// The recorded run of this card before `run`, or null.
  const RunRecord* before(const RunRecord& run) const;
};

/// What the recorded runs of a card say about its noise: kernels whose machine code was the same in
/// two that follow each other, under one driver.
NoiseFloor noise_floor(const RunHistory& history, const DeviceKey& card);

struct StepsFound {
  std::vector<ChangePoint> steps;
  int64_t tested = 0;     ///< series
  int64_t too_short = 0;  ///< series of fewer runs than say anything
};

/// The steps of every series of a card, for both questions, false discoveries controlled.
StepsFound find_change_points(const RunHistory& history, const DeviceKey& card);

}  // namespace nvfp4
