// SPDX-License-Identifier: Apache-2.0
// What a pipeline works with, on an emulated device.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>

#include "runtime/gpu.h"
#include "tuner/workshop.h"

namespace nvfp4 {

struct EmulatedWorkshop {
  /// An empty cache folder: kernels are kept in memory only.
  explicit EmulatedWorkshop(std::filesystem::path cache_folder, const std::string& part = "h100")
      : device("emulated:" + part), options{.directory = std::move(cache_folder)} {}

  std::string device;
  Gpu gpu = open_device(device).gpu;
  Compiler compiler = Compiler::open(gpu.driver().version());
  CacheOptions options;
  CubinCache cache{options};
  Progress progress{{}, false};

  Workshop workshop(
      int jobs = 1, std::function<bool()> stopped = [] { return false; }) {
    return {.gpu = gpu,
            .device = device,
            .compiler = compiler,
            .cache = cache,
            .cache_options = options,
            .jobs = jobs,
            .progress = progress,
            .stopped = std::move(stopped)};
  }
};

}  // namespace nvfp4
