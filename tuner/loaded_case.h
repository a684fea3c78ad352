// SPDX-License-Identifier: Apache-2.0
// One case of the gate on a device. A dense problem has one piece; the tokens of a grouped one go
// to a few experts, and each of those is a case of its own with data of its own, so that what takes
// another's weights, scales, bias or rows is wrong.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "generator/problem.h"
#include "runtime/cuda.h"
#include "tuner/gate_data.h"

namespace nvfp4 {

class LoadedCase {
 public:
  /// The tokens of one expert.
  struct Piece {
    int64_t expert = 0;
    int64_t first = 0;  ///< row of the launch
    GateCase data;      ///< of as many tokens as the launch gives it
  };

  /// Room for launches of up to max_m tokens. `threads` make the data.
  LoadedCase(const Gpu& gpu, const Problem& problem, GateKind kind, int64_t max_m, uint64_t seed,
             int threads);

  /// Makes it a launch of m tokens.
  void arrange(int64_t m);

  const std::vector<Piece>& pieces() const { return pieces_; }
  const std::string& name() const { return pieces_.front().data.name; }
  int64_t lda() const { return pieces_.front().data.lda; }

  /// What the kernel is given; the workspace and the output are the caller's.
  GemmParams params() const;

  /// What it takes beside its parameters; null for a dense one.
  const void* extra() const { return groups_.experts > 0 ? &groups_ : nullptr; }

 private:
  LoadedCase(const Gpu& gpu, const Problem& problem, std::vector<Piece> pieces, int threads);

  int64_t experts_;
  std::vector<Piece> pieces_;
  DeviceBuffer weights_, activations_, global_scales_, bias_, offsets_;
  Groups groups_ = {};
  int64_t arranged_ = 0;
};

}  // namespace nvfp4
