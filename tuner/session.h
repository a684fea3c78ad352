// SPDX-License-Identifier: Apache-2.0
// What commands open before they work: the GPU, the compiler, its cache, the databases. What is
// worth knowing about them goes to the terminal.
#pragma once

#include <string>
#include <string_view>

#include "runtime/compiler.h"
#include "runtime/cubin_cache.h"
#include "runtime/gpu.h"
#include "runtime/lookup.h"
#include "tuner/card_claim.h"
#include "tuner/commands.h"
#include "tuner/pipeline.h"
#include "tuner/progress.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {

/// One line of the program's own, "nvfp4-tune: ...", whatever a library or a stranger's file put
/// into its text.
std::string message_line(std::string_view text);

/// Such a line on standard error.
void warn(const Terminal& terminal, std::string_view text);

Gpu open_gpu(const CommandLine& line, const Terminal& terminal);

/// Path of the user's database; empty when there is no place for one.
std::string user_database(const CommandLine& line, const Terminal& terminal);

/// The user's database, for writing. Where its usual place cannot be written, it is one in memory,
/// and the terminal has been told; a place that was named must be usable. Outlives its disk.
TuningDb open_user_database(const CommandLine& line, const Terminal& terminal);

/// The winners that answer on `device`.
Snapshot open_snapshot(const CommandLine& line, const Device& device, const Terminal& terminal);

CacheOptions cache_options(const CommandLine& line, const Terminal& terminal);

/// A workshop and what it refers to, on a card that is claimed. The GPU and the terminal outlive
/// it.
class OpenWorkshop {
 public:
  OpenWorkshop(const CommandLine& line, const Gpu& gpu, const Terminal& terminal);
  OpenWorkshop(const OpenWorkshop&) = delete;
  OpenWorkshop& operator=(const OpenWorkshop&) = delete;

  const Workshop& operator*() const { return workshop_; }
  const Workshop* operator->() const { return &workshop_; }

 private:
  CardClaim claim_;
  Compiler compiler_;
  CacheOptions options_;
  CubinCache cache_;
  Progress progress_;
  Workshop workshop_;
};

}  // namespace nvfp4
