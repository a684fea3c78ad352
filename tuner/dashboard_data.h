// SPDX-License-Identifier: Apache-2.0
// A database as the page reads it (dashboard/src/data/columnar.ts): column by column, so that
// 200,000 measurements compress to 3.2 MB where an SQLite file of them takes 9.1, and so that the
// page reads them without SQLite.
//
//   "nvfp4col"                          eight bytes
//   length of the header                four bytes, little-endian, as everything is
//   {"schema": 2, "tables": {"measurement": {"rows": R, "columns": [
//     {"name": "id", "type": "u32"}, {"name": "policy", "type": "u8", "words": ["graph", ...]}]}}}
//   for each table, for each column     R numbers of that type: all lowest bytes first
//
// Types are u8, u16, u32, f32 and f64: the narrowest that keeps every number. NULL is NaN. A column
// with words is of text, and its numbers are positions in them.
#pragma once

#include <span>
#include <string>

#include "tuning_db/columns.h"

namespace nvfp4 {

std::string dashboard_data(std::span<const TableColumns> tables);

}  // namespace nvfp4
