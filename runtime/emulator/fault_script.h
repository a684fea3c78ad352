// SPDX-License-Identifier: Apache-2.0
// Counts the calls of the emulated driver by kind, and says which of them a script makes fail: the
// way a test gives the program above the seam an allocation failure, a sticky error or a hang at a
// chosen call.
#pragma once

#include <cuda.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace nvfp4::emulator {

/// Kinds of calls, by the names of emulator.h. `kernel` counts executions, replays of graphs
/// included.
enum class Call {
  init,
  context,
  alloc,
  free,
  copy,
  memset,
  load,
  launch,
  kernel,
  sync,
  stream,
  event,
  capture,
  graph
};
inline constexpr std::array<std::string_view, 14> kCallNames = {
    "init",   "context", "alloc", "free",   "copy",  "memset",  "load",
    "launch", "kernel",  "sync",  "stream", "event", "capture", "graph"};

struct Effect {
  CUresult code = CUDA_SUCCESS;
  bool hang = false;
};

class FaultScript {
 public:
  /// Adds "alloc:2=2,launch:3+=700,sync:1=hang"; counts start now. False, and nothing added, when
  /// `text` does not parse.
  bool add(std::string_view text);

  /// Counts one call; the effect when a rule names it.
  std::optional<Effect> count(Call call);

  int64_t calls(Call call) const { return calls_[static_cast<size_t>(call)]; }

 private:
  struct Rule {
    Call call;
    int64_t first;  ///< number of the call, from the start of the process
    bool onwards;   ///< and all calls after it
    Effect effect;
  };
  std::optional<Rule> parse_rule(std::string_view text) const;

  std::array<int64_t, kCallNames.size()> calls_{};
  std::vector<Rule> rules_;
};

std::optional<Call> find_call(std::string_view name);

}  // namespace nvfp4::emulator
