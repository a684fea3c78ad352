// SPDX-License-Identifier: Apache-2.0
// The kernels that a tuning run will want, told before it begins: while one shape is timed, the
// compile workers have nothing to do, and the next shape's kernels would be waited for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "generator/device.h"
#include "templates/kernel_config.h"
#include "tuner/tune.h"

namespace nvfp4 {

/// As many as no result can spare the run: it may try more, and what databases propose (winners,
/// neighbours) is left to it.
class Forecast {
 public:
  Forecast(TuneRequest request, const Device& device);

  /// The next kernel's source, in the order in which the run asks for them; empty after the last.
  /// The first call ranks the candidates: 70 ms at 13 Ms.
  std::optional<std::string> next();

 private:
  struct Kernel {
    KernelConfig config;
    int64_t n = 0;  ///< weight rows: the problem's, or those of the gate
  };

  void list();

  TuneRequest request_;
  Device device_;
  bool listed_ = false;
  std::vector<Kernel> kernels_;
  size_t at_ = 0;
};

}  // namespace nvfp4
