// SPDX-License-Identifier: Apache-2.0
// What a run works with, what it is to try, and how it may end.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runtime/compiler.h"
#include "runtime/cubin_cache.h"
#include "runtime/gpu.h"
#include "tuner/progress.h"
#include "tuner/search.h"

namespace nvfp4 {

/// Outlives the pipeline.
struct Workshop {
  const Gpu& gpu;
  std::string device;  ///< as open_device takes it, in the workers too
  const Compiler& compiler;
  CubinCache& cache;
  CacheOptions cache_options;  ///< where the compile workers keep their results
  int jobs = 1;                ///< compile processes
  Progress& progress;
  std::function<bool()> stopped;  ///< true once the user wants to stop
  std::string disturbance = {};   ///< why times may be disturbed; the memory of a card that others
                                  ///< use is not watched either
  std::function<std::optional<std::string>()> ahead = {};     ///< next source to compile into the
                                                              ///< cache when workers have no other
  std::optional<std::chrono::milliseconds> bench_limit = {};  ///< of one request to the GPU worker
  std::optional<std::chrono::milliseconds> compile_limit = {};  ///< of one compilation
};

/// One config and the token counts at which it is to be tried.
struct Task {
  Candidate candidate;
  std::vector<int64_t> tokens;
};

enum class RunEnd { complete, out_of_time, stopped };

}  // namespace nvfp4
