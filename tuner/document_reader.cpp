// SPDX-License-Identifier: Apache-2.0
// The checks.
#include "tuner/document_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostRows = 10'000;
constexpr size_t kMostText = 4096;
// No time in microseconds and no rate lies outside, and every figure made of two stays finite.
constexpr double kLeast = 1e-6;
constexpr double kMost = 1e12;

// Whether a terminal would obey what stands at i: C0, DEL, and in UTF-8 C1.
bool is_control(std::string_view text, size_t i) {
  const auto byte = static_cast<unsigned char>(text[i]);
  const bool c1 =
      byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
  return byte < 0x20 || byte == 0x7f || c1;
}

}  // namespace

// Bytes that are no UTF-8 become three each.
std::string plain_text(std::string text) {
  text.resize(std::min(text.size(), kMostText / 3));
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_control(text, i)) text[i] = ' ';
  }
  return text;
}

bool DocumentReader::has(const char* key) const { return object.contains(key); }

const Json& DocumentReader::member(const char* key) const {
  const auto found = object.find(key);
  if (found == object.end()) throw DocumentError(fmt::format("{} has no \"{}\"", where, key));
  return *found;
}

void DocumentReader::refuse(const char* key, std::string_view what) const {
  throw DocumentError(fmt::format("{}: \"{}\" {}", where, key, what));
}

DocumentReader DocumentReader::inner(const char* key) const {
  const Json& value = member(key);
  if (!value.is_object()) refuse(key, "is no object");
  return {value, fmt::format("\"{}\"", key)};
}

const Json& DocumentReader::list(const char* key) const {
  const Json& value = member(key);
  if (!value.is_array() || value.size() > kMostRows) {
    refuse(key, fmt::format("is no list of at most {} entries", kMostRows));
  }
  return value;
}

int64_t DocumentReader::integer(const char* key) const {
  const Json& value = member(key);
  // An unsigned number beyond the range would wrap around.
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX);
  if (!fits) refuse(key, "is no integer");
  return value.get<int64_t>();
}

int64_t DocumentReader::integer(const char* key, int64_t least, int64_t most) const {
  const int64_t value = integer(key);
  if (value < least || value > most) {
    refuse(key, fmt::format("is {}, not {} to {}", value, least, most));
  }
  return value;
}

bool DocumentReader::boolean(const char* key) const {
  const Json& value = member(key);
  if (!value.is_boolean()) refuse(key, "is not true or false");
  return value.get<bool>();
}

std::optional<double> DocumentReader::number_or_null(const char* key) const {
  const Json& value = member(key);
  if (value.is_null()) return std::nullopt;
  const double number = value.is_number() ? value.get<double>() : 0;
  if (!(number >= kLeast && number <= kMost)) refuse(key, "is no plausible number");
  return number;
}

double DocumentReader::number(const char* key) const {
  const std::optional<double> value = number_or_null(key);
  if (!value) refuse(key, "is no plausible number");
  return *value;
}

std::string DocumentReader::text(const char* key) const {
  const Json& value = member(key);
  if (!value.is_string() || value.get_ref<const std::string&>().size() > kMostText) {
    refuse(key, fmt::format("is no text of at most {} bytes", kMostText));
  }
  auto text = value.get<std::string>();
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_control(text, i)) refuse(key, "holds control characters");
  }
  return text;
}

std::string DocumentReader::text_or_empty(const char* key) const {
  return member(key).is_null() ? std::string() : text(key);
}

bool DocumentReader::either(const char* key, std::string_view first,
                            std::string_view second) const {
  const std::string word = text(key);
  if (word != first && word != second) refuse(key, fmt::format("is not {} or {}", first, second));
  return word == first;
}

}  // namespace nvfp4
