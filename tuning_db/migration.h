// SPDX-License-Identifier: Apache-2.0
// How a database of an older version becomes one of the current version.
#pragma once

#include <cstdint>

#include "tuning_db/sqlite.h"

namespace nvfp4 {

/// Makes the tables of the current version in an empty database and marks it as ours.
void create_tables(Connection& connection);

/// Brings a database of an older version to the current one. Call it inside a transaction, with
/// foreign keys off: every table is made anew.
void migrate(Connection& connection, int64_t version);

/// A copy of such a database in memory, of the current version; the file is only read.
Connection migrated_copy(const Connection& connection, int64_t version);

}  // namespace nvfp4
