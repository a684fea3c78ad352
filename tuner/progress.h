// SPDX-License-Identifier: Apache-2.0
// The progress line: rewritten in place on a terminal, a plain line every few seconds elsewhere.
// Where the text goes is the caller's business; the library itself prints nothing.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

namespace nvfp4 {

class Progress {
 public:
  using Write = std::function<void(std::string_view)>;

  /// `terminal`: the line may be rewritten. An empty `write` makes a silent one.
  Progress(Write write, bool terminal);
  /// Removes an unfinished line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// What follows is one part of something larger: `title` stands before each line, and the time
  /// left is that of everything, of which this part takes `own` and what comes later `after`.
  void begin_part(std::string title, std::chrono::milliseconds own,
                  std::chrono::milliseconds after);

  /// Says that `done` of `total` steps of `stage` are over; `detail` follows the numbers. `limit`
  /// caps the estimate of the time left (zero: no limit).
  void step(std::string_view stage, size_t done, size_t total, std::string_view detail,
            std::chrono::milliseconds limit = {});

  /// Removes the line that step() left on the terminal.
  void clear();

  /// A line that stays.
  void note(std::string_view line);

 private:
  using Clock = std::chrono::steady_clock;

  Write write_;
  bool terminal_;
  bool on_line_ = false;
  std::string stage_;
  Clock::time_point stage_start_;
  std::string part_;  ///< empty: what is shown is all there is
  Clock::time_point part_end_;
  std::chrono::milliseconds after_{0};
  Clock::time_point last_ = Clock::time_point::min();
};

/// "8s", "1m05s", "2h10m": how a time is shown.
std::string duration_text(std::chrono::milliseconds duration);

}  // namespace nvfp4
