// SPDX-License-Identifier: Apache-2.0
// The GPU worker: loads, gates and times one kernel after another in a process of its own, so that
// a kernel that faults or hangs takes nothing with it. It keeps the device open and the test data,
// pool and activations of the problem between requests.
#pragma once

#include <memory>

#include "tuner/jobs.h"

namespace nvfp4 {

class Bench {
 public:
  Bench();
  ~Bench();

  /// Answers a canary, evaluate, finals, ceilings or matrix job. The reply says "last" when the
  /// context is lost.
  Message serve(const Message& request);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace nvfp4
