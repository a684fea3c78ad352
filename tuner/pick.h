// SPDX-License-Identifier: Apache-2.0
// What the tuner picks when it knows nothing but a warm cache: a whole tuning run in a process of
// its own, without a database. Many of them show whether the choice is the same every time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "generator/problem.h"
#include "tuner/command_line.h"
#include "tuner/suite.h"
#include "tuning_db/records.h"

namespace nvfp4 {

struct Message;  // message.h

/// A dense product for which a kernel is to be chosen.
struct PickTarget {
  Shape shape;
  int64_t m = 0;

  friend bool operator==(const PickTarget&, const PickTarget&) = default;
};

struct PickJob {
  std::string device;
  std::string cache_directory;
  int64_t cache_limit = 0;
  int jobs = 1;  ///< compile processes
  Activation act = Activation::bf16;
  Policy policy = Policy::graph;
  Effort effort = Effort::quick;
  uint64_t seed = 1;
  std::vector<PickTarget> targets;
};

struct Pick {
  std::string config;  ///< canonical text; empty: none was found
  double seconds = 0;  ///< from the question to the choice
};

struct PickResult {
  double start_seconds = 0;  ///< until the device was open
  std::vector<Pick> picks;   ///< one a target
};

Message encode(const PickJob& job);
Message encode(const PickResult& result);
/// Throw MessageError.
PickJob decode_pick_job(const Message& message);
PickResult decode_pick_result(const Message& message);

/// The work of the role "pick". The reply says "last": the next job gets a fresh process.
Message serve_pick(const Message& request);

}  // namespace nvfp4
