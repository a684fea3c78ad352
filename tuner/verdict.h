// SPDX-License-Identifier: Apache-2.0
// One series in two runs: did it get slower? Equal machine code is no change, whatever the clock
// says; a failed gate is one whatever it says. Else the quartiles of the two must lie apart, in
// time and in clock cycles, by more than the card's noise. What is neither clear nor the same is
// ambiguous, with the reason and the command that settles it.
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

/// Both of one problem, M, policy and provenance. `noise` is the share by which times of this kind
/// move when nothing changed. Swapping the two swaps faster and slower.
Judgement judge(const Measurement& base, const Measurement& now, double noise);

/// Whether the verdict says that the kernel itself is at fault, and not the machine at that moment.
bool failed_gate(Verdict verdict);

}  // namespace nvfp4
