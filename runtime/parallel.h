// SPDX-License-Identifier: Apache-2.0
// Splits a loop over threads: contiguous ranges, so that each thread walks its own memory in order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace nvfp4 {

/// Calls body(i) for 0 <= i < count on up to `threads` threads, each over an ascending range. After
/// all have ended, rethrows the exception of the lowest range that raised one.
template <typename Body>
void parallel_for(int64_t count, int threads, const Body& body) {
  const int64_t workers = std::clamp<int64_t>(threads, 1, std::max<int64_t>(count, 1));
  std::vector<std::exception_ptr> errors(workers);
  const auto run = [&](int64_t worker) {
    try {
      const int64_t end = count * (worker + 1) / workers;
      for (int64_t i = count * worker / workers; i < end; ++i) body(i);
    } catch (...) {
      errors[worker] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> pool;
    for (int64_t worker = 1; worker < workers; ++worker) pool.emplace_back(run, worker);
    run(0);
  }
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace nvfp4
