// SPDX-License-Identifier: Apache-2.0
// How far two runs of one card lie apart when nothing changed, learnt from kernels whose machine
// code was the same in both. Small problems are quieter than those that heat the card, so each M
// has a floor of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace nvfp4 {

class NoiseFloor {
 public:
  /// Two runs of one machine code at M took times of this ratio.
  void add(int64_t m, double ratio);

  /// A change up to this share is noise: three standard deviations of what add() was told at M, by
  /// their median; of all of the card while M has fewer than kFewestPairs; 0.013 while the card
  /// has.
  double at(int64_t m) const;

  /// Pairs that the floors rest on, and whether they are too few to rest on.
  size_t pairs() const { return all_.size(); }
  bool assumed() const { return all_.size() < kFewestPairs; }

  static constexpr size_t kFewestPairs = 8;

 private:
  std::vector<float> all_;  ///< distances, of logarithms
  std::map<int64_t, std::vector<float>> by_tokens_;
};

}  // namespace nvfp4
