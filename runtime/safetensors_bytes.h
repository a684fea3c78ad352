// SPDX-License-Identifier: Apache-2.0
// The bytes of a safetensors header as the pair of iterators that the JSON parser wants, read from
// the file 64 KiB at a time.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/safetensors_header.h"

namespace nvfp4 {

/// The header's bytes in order, in pieces. NUL bytes end here: to the lexer they mean the end of
/// its input, and padding made of them would pass. Long tokens end here too: the lexer keeps each.
class HeaderBytes {
 public:
  HeaderBytes(const ByteSource& source, int64_t begin, int64_t end, std::string_view file)
      : source_(source), at_(begin), begin_(begin), end_(end), file_(file) {}

  bool done() const { return at_ == end_; }
  char current() {
    if (next_ == filled_) fill();
    return piece_[next_];
  }
  void advance() {
    const char c = current();
    if (c == '\0') {
      throw SafetensorsError(fmt::format("{}: header byte {} is NUL", file_, at_ - begin_));
    }
    const bool ends = in_string_ ? c == '"' && !escaped_ : is_structural(c);
    if (c == '"' && !escaped_) in_string_ = !in_string_;
    escaped_ = in_string_ && c == '\\' && !escaped_;
    token_bytes_ = ends ? 0 : token_bytes_ + 1;
    if (token_bytes_ > kMaxTokenBytes) {
      throw SafetensorsError(fmt::format("{}: header byte {}: a token exceeds {} bytes", file_,
                                         at_ - begin_, kMaxTokenBytes));
    }
    ++next_;
    ++at_;
  }

 private:
  static bool is_structural(char c) {
    return c == '"' || c == '{' || c == '}' || c == '[' || c == ']' || c == ':' || c == ',';
  }

  void fill() {
    filled_ = static_cast<size_t>(std::min<int64_t>(piece_.size(), end_ - at_));
    source_(at_, std::span(piece_.data(), filled_));
    next_ = 0;
  }

  const ByteSource& source_;
  int64_t at_, begin_, end_;
  std::string_view file_;
  std::vector<char> piece_ = std::vector<char>(1 << 16);
  size_t next_ = 0, filled_ = 0;
  bool in_string_ = false, escaped_ = false;
  int64_t token_bytes_ = 0;
};

/// The pair of iterators that the parser wants; null is the end.
class HeaderIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = char;

  explicit HeaderIterator(HeaderBytes* bytes) : bytes_(bytes) {}
  char operator*() const { return bytes_->current(); }
  HeaderIterator& operator++() {
    bytes_->advance();
    return *this;
  }
  friend bool operator!=(const HeaderIterator& a, const HeaderIterator& b) {
    return a.at_end() != b.at_end();
  }
  friend bool operator==(const HeaderIterator& a, const HeaderIterator& b) { return !(a != b); }

 private:
  bool at_end() const { return bytes_ == nullptr || bytes_->done(); }
  HeaderBytes* bytes_;
};

}  // namespace nvfp4
