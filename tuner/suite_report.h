// SPDX-License-Identifier: Apache-2.0
// The results of a suite as people see them, in the run and from files alike.
#pragma once

#include "tuner/plot.h"
#include "tuner/suite_results.h"

namespace nvfp4 {

struct Table;  // table.h

Table suite_table(const SuiteResults& results);
Plot suite_plot(const SuiteResults& results);

}  // namespace nvfp4
