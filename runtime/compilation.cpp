// SPDX-License-Identifier: Apache-2.0
// Reads the text that NVRTC and ptxas print. Its shape is stable from 12.3 to 13.x: figures stand
// beside fixed words, so each is found by its words and lines that say something else are ignored.
#include "runtime/compilation.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace nvfp4 {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Calls visit(line) for every line of `text`, without its newline.
template <typename Visit>
void for_each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    visit(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

/// The number directly before `words` in `line`; 0 when the words do not stand there.
int number_before(std::string_view line, std::string_view words) {
  const size_t end = line.find(words);
  if (end == std::string_view::npos) return 0;
  size_t begin = end;
  while (begin > 0 && is_digit(line[begin - 1])) --begin;
  int value = 0;
  std::from_chars(line.data() + begin, line.data() + end, value);
  return value;
}

}  // namespace

bool Compilation::serialised_wgmma() const {
  return std::any_of(warnings.begin(), warnings.end(), [](const std::string& line) {
    return line.find("(C75") != std::string::npos && line.find("wgmma") != std::string::npos;
  });
}

KernelResources parse_resources(std::string_view log) {
  KernelResources most;
  const auto raise = [](int& field, int value) { field = std::max(field, value); };
  for_each_line(log, [&](std::string_view line) {
    raise(most.registers, number_before(line, " registers"));
    raise(most.stack_bytes, number_before(line, " bytes stack frame"));
    raise(most.spill_store_bytes, number_before(line, " bytes spill stores"));
    raise(most.spill_load_bytes, number_before(line, " bytes spill loads"));
    raise(most.static_smem_bytes, number_before(line, " bytes smem"));
    raise(most.barriers, number_before(line, " barriers"));
  });
  return most;
}

std::vector<std::string> parse_warnings(std::string_view log) {
  std::vector<std::string> warnings;
  for_each_line(log, [&](std::string_view line) {
    const bool warns = line.find("warning") != std::string_view::npos &&
                       line.find("-diag-suppress") == std::string_view::npos;
    const bool slow = line.find("Potential Performance Loss") != std::string_view::npos;
    if (warns || slow) warnings.emplace_back(line);
  });
  return warnings;
}

std::string printable_log(std::string_view log) {
  while (!log.empty() && (log.back() == '\0' || log.back() == '\n')) log.remove_suffix(1);
  std::string text;
  if (log.size() <= kMaxLogBytes) {
    text = log;
  } else {
    constexpr size_t kHalf = kMaxLogBytes / 2 - 64;  // 64 bytes hold the line that marks the gap
    text = fmt::format("{}\n[{} bytes left out]\n{}", log.substr(0, kHalf), log.size() - 2 * kHalf,
                       log.substr(log.size() - kHalf));
  }
  std::replace_if(
      text.begin(), text.end(),
      [](unsigned char c) { return (c < 0x20 && c != '\t' && c != '\n') || c == 0x7F; }, '?');
  return text;
}

}  // namespace nvfp4
