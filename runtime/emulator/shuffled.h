// SPDX-License-Identifier: Apache-2.0
// A shuffle that gives the same order for the same seed on every platform.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace nvfp4::emulator {

template <class T>
void shuffle(std::vector<T>& items, uint64_t seed) {
  uint64_t state = seed;
  const auto next = [&state] {  // splitmix64
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  };
  for (size_t left = items.size(); left > 1; --left)
    std::swap(items[left - 1], items[next() % left]);
}

}  // namespace nvfp4::emulator
