// SPDX-License-Identifier: Apache-2.0
// Where rows of the product are stored: in one output, or (a stack of q, k and v, say) each part's rows in
// an output of its own. Which of the two is a type, chosen where a kernel is emitted: code that a launch
// never runs costs it time too.
#pragma once

#include "gemm_params.h"

namespace nvfp4 {

/// The output that takes a row of the packed matrix.
struct OutputRows {
  unsigned char* out;
  long long ldo;
  int row;    ///< the row's place in that output
  int count;  ///< rows of that output
};

/// All rows go to GemmParams::out.
template <int kN>
struct OneOutput {
  const GemmParams& params;

  __device__ OutputRows of(int row) const {
    return {static_cast<unsigned char*>(params.out), params.ldo, row, kN};
  }
};

/// Parts begin on 64-row tiles, so that all rows of a unit have one output; rows of the gaps have none.
struct SplitOutput {
  const OutputParts& parts;

  __device__ OutputRows of(int row) const {
    int part = 0;
    while (part + 1 < parts.count && row >= parts.first_row[part + 1]) ++part;
    return {static_cast<unsigned char*>(parts.out[part]), parts.ldo[part], row - parts.first_row[part],
            parts.rows[part]};
  }
};

}  // namespace nvfp4
