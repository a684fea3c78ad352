// SPDX-License-Identifier: Apache-2.0
// Is this time the same as that one? To differ, the quartiles of the two must lie apart, in time
// and in clock cycles, by more than the card's noise. What is neither clear nor the same is
// ambiguous, with the reason. And of one series in two runs: did it get slower? Equal machine code
// is no change, whatever the clock says; a failed gate is one whatever it says.
#pragma once

#include <string>

#include "tuning_db/records.h"

namespace nvfp4 {

struct Judgement {
  Change change = Change::unchanged;
  /// One line, empty when there is nothing to add. Of an ambiguous pair it starts with a code:
  /// too-noisy, few-samples, clock-unknown, throttled, clock, ranks, floor or overlap.
  std::string reason;
  double ratio = 0;  ///< now over base; 0 when there is none
  double ratio_lo = 0;
  double ratio_hi = 0;      ///< both of the quartiles
  double cycles_ratio = 0;  ///< 0 when a clock is unknown
};

/// Two times, both ok, of one problem, M, policy and provenance: same, faster, slower or ambiguous.
/// `noise` is the share by which times of this kind move when nothing changed. Swapping the two
/// swaps faster and slower.
Judgement judge_times(const Measurement& base, const Measurement& now, double noise);

/// The same for a row of an earlier run and one of a later, whatever became of them. Of an
/// ambiguous pair the reason ends with the command that settles it.
Judgement judge(const Measurement& base, const Measurement& now, double noise);

/// Whether the verdict says that the kernel itself is at fault, and not the machine at that moment.
bool failed_gate(Verdict verdict);

}  // namespace nvfp4
