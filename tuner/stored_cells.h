// SPDX-License-Identifier: Apache-2.0
// What a card has winners for, as cells to measure again: all of them, or a sample that holds every
// token count.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tuner/suite_run.h"
#include "tuning_db/records.h"

namespace nvfp4 {

/// Each (N, K, tuned M) once, in this order, of the dense winners of `card` in the databases at
/// `paths`; a path without a file is passed over. Throws DatabaseError.
std::vector<SuiteCell> stored_cells(std::span<const std::string> paths, const DeviceKey& card,
                                    Activation act);

/// `share` (0 to 1) of the cells of each M, rounded up. The seed chooses; which cells there are
/// beside one does not, so that a nightly sample stays the same while the database grows.
std::vector<SuiteCell> sampled(const std::vector<SuiteCell>& cells, double share, uint64_t seed);

}  // namespace nvfp4
