// SPDX-License-Identifier: Apache-2.0
// A stranger's winners as hints: each is checked, and none answers a lookup before it was measured
// here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tuning_db/tuning_db.h"

namespace nvfp4 {

struct ImportResult {
  int64_t winners = 0;               ///< taken, those that were there already included
  std::vector<std::string> refused;  ///< one line each: where, and why
  std::string unread;                ///< why the rest of a text was not read; else empty
};

/// Winners of `text` (winners_text.h), in one transaction. Throws DatabaseError when the whole is
/// none of ours.
ImportResult import_winners(TuningDb& into, std::string_view text, std::string_view name);

/// Winners of another database with their evidence, in one transaction; nothing else of it.
ImportResult import_winners(TuningDb& into, TuningDb& from);

}  // namespace nvfp4
