// SPDX-License-Identifier: Apache-2.0
// The compile worker: NVRTC in a process of its own, so that a compilation that crashes or never
// ends is a candidate's misfortune, and so that many run at once.
#pragma once

#include <memory>

#include "tuner/jobs.h"

namespace nvfp4 {

class CompileService {
 public:
  CompileService();
  ~CompileService();

  /// Answers a compile job, from the cache if it can.
  Message serve(const Message& request);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace nvfp4
