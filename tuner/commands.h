// SPDX-License-Identifier: Apache-2.0
// What each command of nvfp4-tune does: from a checked command line to text for standard output.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "tuner/command_line.h"

namespace nvfp4 {

enum class ExitCode : int {
  ok = 0,
  failed = 1,
  usage = 2,
  no_device = 3,  ///< no usable GPU, driver or NVRTC
  wrong = 4,      ///< kernels ran and none gave right results
  regression = 5,
  miss = 6,       ///< lookup --strict
  interrupted = 130,
};

/// The way to the user beside the result.
struct Terminal {
  std::function<void(std::string_view)> write;  ///< standard error
  bool rewritable = false;                      ///< a progress line may be rewritten in place
  std::function<bool()> interrupted;            ///< Ctrl-C was pressed
  bool quiet = false;                           ///< no progress, only what is worth a line
};

struct Answered {
  ExitCode code = ExitCode::ok;
  std::string text;
};

/// Runs any command but help, version and worker. Throws UsageError, UnknownDevice,
/// DriverError, CudaError, CompilerError, DatabaseError, MeasureError, WorkerError, FileError, or
/// what run_inspect() throws.
Answered run_command(const CommandLine& line, const Terminal& terminal);

}  // namespace nvfp4
