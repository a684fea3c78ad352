// SPDX-License-Identifier: Apache-2.0
// Splits a loop over threads: contiguous ranges, so that each thread walks its own memory in order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace nvfp4 {

/// Calls body(i) for 0 <= i < count on up to `threads` threads, each over an ascending range. The
/// ranges of threads that the system does not give are this one's work. After all have ended,
/// rethrows the exception of the lowest range that raised one.
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
    int64_t given = 1;
    try {
      for (; given < workers; ++given) pool.emplace_back(run, given);
    } catch (const std::system_error&) {
    }
    run(0);
    for (; given < workers; ++given) run(given);
  }
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace nvfp4
