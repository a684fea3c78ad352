// SPDX-License-Identifier: Apache-2.0
// A pattern is a row of steps, each a set of bytes; the matcher walks the name once with the set of
// steps that it may have reached.
#include "runtime/name_pattern.h"

#include <algorithm>

namespace nvfp4 {

NamePattern::Step NamePattern::step(unsigned char c) {
  Step step{.accepts = std::vector<bool>(256)};
  step.accepts[c] = true;
  return step;
}

NamePattern::Step NamePattern::any_step() { return {.accepts = std::vector<bool>(256, true)}; }

NamePattern NamePattern::glob(std::string_view text) {
  NamePattern pattern;
  for (char c : text) {
    pattern.steps_.push_back(c == '*' ? any_step() : step(static_cast<unsigned char>(c)));
    if (c == '*') pattern.steps_.back().optional = pattern.steps_.back().repeated = true;
  }
  return pattern;
}

// Takes one set of bytes off the front of `text`.
std::optional<NamePattern::Step> NamePattern::read_step(std::string_view& text) {
  const auto take = [&] {
    const char c = text.front();
    text.remove_prefix(1);
    return static_cast<unsigned char>(c);
  };
  const auto add_digits = [](Step& step) {
    for (int c = '0'; c <= '9'; ++c) step.accepts[c] = true;
  };
  const unsigned char c = take();
  if (c == '.') return any_step();
  if (c == '\\') {
    if (text.empty()) return std::nullopt;
    const unsigned char escaped = take();
    if (escaped != 'd' && std::isalnum(escaped)) return std::nullopt;
    Step result = step(escaped);
    if (escaped == 'd') result.accepts['d'] = false, add_digits(result);
    return result;
  }
  if (c != '[') {
    if (std::string_view("(){}|^$*+?]").find(static_cast<char>(c)) != std::string_view::npos) {
      return std::nullopt;
    }
    return step(c);
  }
  const size_t close = text.find(']');
  if (close == text.npos || close == 0) return std::nullopt;
  std::string_view inside = text.substr(0, close);
  text.remove_prefix(close + 1);
  const bool negated = inside.front() == '^';
  if (negated) inside.remove_prefix(1);
  Step result{.accepts = std::vector<bool>(256)};
  for (size_t i = 0; i < inside.size(); ++i) {
    if (inside[i] == '\\' || inside[i] == '[') return std::nullopt;
    const auto low = static_cast<unsigned char>(inside[i]);
    const bool range = i + 2 < inside.size() && inside[i + 1] == '-';
    const auto high = static_cast<unsigned char>(range ? inside[i + 2] : inside[i]);
    for (int b = low; b <= high; ++b) result.accepts[b] = true;
    if (range) i += 2;
  }
  if (negated) result.accepts.flip();
  return result;
}

std::optional<NamePattern> NamePattern::regex(std::string_view text) {
  NamePattern pattern;
  pattern.to_end_ = text.ends_with('$') && !text.ends_with("\\$");
  if (pattern.to_end_) text.remove_suffix(1);
  if (text.starts_with('^')) text.remove_prefix(1);
  while (!text.empty()) {
    std::optional<Step> next = read_step(text);
    if (!next) return std::nullopt;
    if (!text.empty() && std::string_view("*+?").find(text.front()) != std::string_view::npos) {
      next->optional = text.front() != '+';
      next->repeated = text.front() != '?';
      text.remove_prefix(1);
    }
    pattern.steps_.push_back(std::move(*next));
  }
  return pattern;
}

bool NamePattern::matches(std::string_view name) const {
  const size_t count = steps_.size();
  std::vector<char> at(count + 1), next(count + 1);  // steps that could take the next byte
  const auto reach = [&](std::vector<char>& set, size_t i) {
    // From one that is there already, all that it leads to is there too: a walk of all steps for a
    // byte, and not one for each.
    for (; !set[i]; ++i) {
      set[i] = 1;
      if (i == count || !steps_[i].optional) return;
    }
  };
  reach(at, 0);
  for (char c : name) {
    if (!to_end_ && at[count]) return true;
    std::fill(next.begin(), next.end(), 0);
    for (size_t i = 0; i < count; ++i) {
      if (!at[i] || !steps_[i].accepts[static_cast<unsigned char>(c)]) continue;
      if (steps_[i].repeated) reach(next, i);
      reach(next, i + 1);
    }
    at.swap(next);
  }
  return at[count] != 0;
}

}  // namespace nvfp4
