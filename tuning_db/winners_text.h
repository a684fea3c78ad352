// SPDX-License-Identifier: Apache-2.0
// Winners with their evidence as text that a person reviews and git compares: one card a file, one
// winner a line, sorted, dense ones first. Databases that are shipped are made of it.
//
//   # NVFP4 winners, version 1
//   card = NVIDIA H100 80GB HBM3      for people; may be left out
//   arch = sm_90a                     facts of the card: what makes another one the same
//   sm_count = 132
//   l2_bytes = 52428800
//   smem_per_block = 232448
//   bandwidth_class = 34
//   n,k,experts,act,policy,m_lo,m_hi,m,us,...,config
//   4096,4096,0,bf16,graph+pdl,1,7,1,4.654,...,"family=mma,..."
//   2880,2880,32,bf16,graph+pdl,1,8,1,6.105,...,"family=mma,..."
//
// The columns are named, so that one more is no new version: a reader refuses the text at this line
// when it names a column that the reader does not know, and takes no row for what it is not. The
// first readers compare the whole line and refuse it likewise. `experts` is 0 for a dense problem,
// and a text without that column holds dense winners only.
//
// Raw samples and sources are not in the text, so a database that is made of it has none of them.
// Lines that begin with # after the first are for people. Nothing else of the machine or of its
// user is in it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tuning_db/merge.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {

/// The measured winners of `database` on a real card. Throws DatabaseError when there is none, or
/// when they are of several cards.
std::string winners_text(TuningDb& database);

/// What a text holds: for each good line a winner, and a sentence for each bad one.
struct ParsedWinners {
  struct Row {
    RunRecord run;
    FoundedWinner winner;
    std::string place;  ///< "card.csv:8"
  };
  std::vector<Row> rows;
  std::vector<std::string> defects;  ///< with their places, in the order of lines
  std::string unread;                ///< why reading ended, after 10,000 defects; else empty
};

/// Throws DatabaseError when the text is none of ours, with `name` and the line.
ParsedWinners parse_winners_text(std::string_view text, std::string_view name);

/// Adds what `text` holds to `database`, in one transaction, and returns the number of winners.
/// Throws DatabaseError with `name` and the line of the first defect; nothing is added then.
int64_t add_winners_text(TuningDb& database, std::string_view text, std::string_view name);

}  // namespace nvfp4
