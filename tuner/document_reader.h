// SPDX-License-Identifier: Apache-2.0
// Reading a JSON document that may come from anywhere: every value is checked as it is taken, and
// what is wrong is said with its place.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace nvfp4 {

/// A text that is no such document; the message says what is wrong with it.
class DocumentError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// `text` as it can be written and read again, whatever a driver or a compiler put into it: cut,
/// and without what a terminal would obey.
std::string plain_text(std::string text);

/// One object of a document, and what to call it in a message. Each function takes the member `key`
/// and throws DocumentError when it is missing or not what its name says.
struct DocumentReader {
  const nlohmann::ordered_json& object;
  std::string where;

  const nlohmann::ordered_json& member(const char* key) const;
  bool has(const char* key) const;
  DocumentReader inner(const char* key) const;
  const nlohmann::ordered_json& list(const char* key) const;  ///< of at most 10,000 entries
  int64_t integer(const char* key) const;
  int64_t integer(const char* key, int64_t least, int64_t most) const;
  bool boolean(const char* key) const;
  double number(const char* key) const;  ///< positive and plausible
  std::optional<double> number_or_null(const char* key) const;
  std::string text(const char* key) const;  ///< without control characters
  std::string text_or_empty(const char* key) const;
  /// One of two words: whether it is the first.
  bool either(const char* key, std::string_view first, std::string_view second) const;

  [[noreturn]] void refuse(const char* key, std::string_view what) const;
};

}  // namespace nvfp4
