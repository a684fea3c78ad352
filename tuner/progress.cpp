// SPDX-License-Identifier: Apache-2.0
// Progress on a terminal and in a log.
#include "tuner/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace nvfp4 {
namespace {

constexpr auto kRewriteEvery = std::chrono::milliseconds(100);
constexpr auto kLogEvery = std::chrono::seconds(3);

}  // namespace

Progress::Progress(Write write, bool terminal) : write_(std::move(write)), terminal_(terminal) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (on_line_) write_("\r\x1b[K");
  on_line_ = false;
}

void Progress::begin_part(std::string title, std::chrono::milliseconds own,
                          std::chrono::milliseconds after) {
  part_ = std::move(title);
  part_end_ = Clock::now() + own;
  after_ = after;
  stage_.clear();
}

void Progress::step(std::string_view stage, size_t done, size_t total, std::string_view detail,
                    std::chrono::milliseconds limit) {
  if (!write_) return;
  const Clock::time_point now = Clock::now();
  const bool new_stage = stage_ != stage;
  if (new_stage) {
    stage_ = stage;
    stage_start_ = now;
  }
  const auto interval = terminal_ ? Clock::duration(kRewriteEvery) : Clock::duration(kLogEvery);
  const bool due = last_ == Clock::time_point::min() || now - last_ >= interval;
  if (!due && !(terminal_ && new_stage)) return;
  last_ = now;

  std::string line = fmt::format("{} {}/{}", stage, done, total);
  if (!detail.empty()) line += fmt::format(", {}", detail);
  if (!part_.empty()) {
    line = fmt::format("{}: {}", part_, line);
    const auto own = std::chrono::duration_cast<std::chrono::milliseconds>(part_end_ - now);
    line += fmt::format(", {} left in all",
                        duration_text(std::max(own, std::chrono::milliseconds(0)) + after_));
  } else if (done > 0 && done < total) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        (now - stage_start_) * static_cast<double>(total - done) / static_cast<double>(done));
    if (limit.count() > 0) left = std::min(left, limit);
    line += fmt::format(", {} left", duration_text(left));
  }
  if (terminal_) {
    write_(fmt::format("\r\x1b[K{}", line));
    on_line_ = true;
  } else {
    write_(line + "\n");
  }
}

void Progress::note(std::string_view line) {
  if (!write_) return;
  clear();
  write_(fmt::format("{}\n", line));
}

std::string duration_text(std::chrono::milliseconds duration) {
  const auto seconds = std::chrono::round<std::chrono::seconds>(duration).count();
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3600) return fmt::format("{}m{:02}s", seconds / 60, seconds % 60);
  return fmt::format("{}h{:02}m", seconds / 3600, seconds / 60 % 60);
}

}  // namespace nvfp4
