// SPDX-License-Identifier: Apache-2.0
// The header's JSON goes through a SAX parser straight from the file, so that it is never in memory
// as a whole; every structure that a header cannot have is refused where it begins.
#include "runtime/safetensors_header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/json_text.h"
#include "runtime/quoted_name.h"
#include "runtime/safetensors_bytes.h"

namespace nvfp4 {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

constexpr int64_t kLengthBytes = 8;
constexpr size_t kDataAlignment = 4096;  // a page: a mapped tensor can go to a device as it is

struct DtypeFacts {
  std::string_view name;
  int bits;
};
constexpr std::array<DtypeFacts, 20> kDtypes = {
    {{"BOOL", 8}, {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
     {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},
     {"U16", 16}, {"F16", 16},    {"BF16", 16},   {"I32", 32},    {"U32", 32},
     {"F32", 32}, {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}}};
static_assert(kDtypes[static_cast<int>(Dtype::u64)].name == "U64");

std::optional<Dtype> parse_dtype(std::string_view text) {
  for (size_t i = 0; i < kDtypes.size(); ++i) {
    if (kDtypes[i].name == text) return static_cast<Dtype>(i);
  }
  return std::nullopt;
}

/// Bytes of a tensor; empty when they overflow or are no whole number.
std::optional<int64_t> tensor_bytes(const TensorEntry& tensor) {
  int64_t elements = 1;
  for (int64_t size : tensor.shape) {
    if (__builtin_mul_overflow(elements, size, &elements)) return std::nullopt;
  }
  int64_t bits = 0;
  if (__builtin_mul_overflow(elements, element_bits(tensor.dtype), &bits)) return std::nullopt;
  return bits % 8 == 0 ? std::optional(bits / 8) : std::nullopt;
}

/// Builds the entries from the parser's events.
class HeaderEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderEvents(SafetensorsHeader& header, std::string_view file) : header_(header), file_(file) {}

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a truth value"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool number_integer(number_integer_t value) override { return number(value); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<uint64_t>(INT64_MAX)) return no_size(fmt::format("{}", value));
    return number(static_cast<int64_t>(value));
  }
  bool number_float(number_float_t, const string_t& text) override { return no_size(text); }

  bool string(string_t& text) override {
    if (place_ == Place::metadata) {
      count_text(text);
      header_.metadata.back().second = text;
    } else if (place_ == Place::tensor && field_ == Field::dtype) {
      const std::optional<Dtype> dtype = parse_dtype(text);
      if (!dtype) fail("dtype {} is not known", quoted_name(text));
      header_.tensors.back().dtype = *dtype;
    } else {
      return unexpected("a string");
    }
    return true;
  }

  bool start_object(size_t) override {
    if (place_ == Place::outside) {
      place_ = Place::header;
    } else if (place_ == Place::header) {
      place_ = in_metadata_ ? Place::metadata : Place::tensor;
      seen_ = 0;
    } else {
      return unexpected("an object");
    }
    return true;
  }

  bool key(string_t& text) override {
    if (place_ == Place::header) {
      in_metadata_ = text == "__metadata__";
      if (in_metadata_ && std::exchange(metadata_seen_, true)) fail_file("'__metadata__' twice");
      if (in_metadata_) return true;
      if (std::ssize(header_.tensors) == kMaxTensors) {
        fail_file(fmt::format("more than {} tensors", kMaxTensors));
      }
      count_text(text);
      header_.tensors.push_back({.name = text, .begin = -1, .bytes = -1});
    } else if (place_ == Place::metadata) {
      count_text(text);
      header_.metadata.emplace_back(text, "");
    } else {
      tensor_key(text);
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::tensor && seen_ != 7) {
      fail("{} is missing", seen_ & 1 ? seen_ & 2 ? "'data_offsets'" : "'shape'" : "'dtype'");
    }
    place_ = place_ == Place::header ? Place::outside : Place::header;
    in_metadata_ = false;
    return true;
  }

  bool start_array(size_t) override {
    if (place_ != Place::tensor || field_ == Field::dtype) return unexpected("an array");
    place_ = Place::array;
    offsets_ = 0;
    return true;
  }

  bool end_array() override {
    if (field_ == Field::offsets && offsets_ != 2) {
      fail("'data_offsets' holds {} numbers, not 2", offsets_);
    }
    place_ = Place::tensor;
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    throw SafetensorsError(
        fmt::format("{}: header byte {}: {}", file_, position, json_reason(error.what())));
  }

 private:
  enum class Place { outside, header, metadata, tensor, array };
  enum class Field { dtype, shape, offsets };

  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw SafetensorsError(fmt::format("{}: tensor {}: {}", file_,
                                       quoted_name(header_.tensors.back().name),
                                       fmt::format(format, std::forward<Args>(args)...)));
  }
  [[noreturn]] void fail_file(std::string_view what) const {
    throw SafetensorsError(fmt::format("{}: header holds {}", file_, what));
  }

  bool unexpected(std::string_view what) const {
    if (place_ == Place::tensor || place_ == Place::array) {
      fail("{} in {}", what,
           field_ == Field::dtype   ? "'dtype'"
           : field_ == Field::shape ? "'shape'"
                                    : "'data_offsets'");
    }
    if (place_ == Place::outside) fail_file(fmt::format("{}, not an object", what));
    if (place_ == Place::metadata) fail_file(fmt::format("{} in '__metadata__'", what));
    if (in_metadata_) fail_file(fmt::format("{} as '__metadata__'", what));
    fail("{} where its object should be", what);
  }

  void tensor_key(const std::string& text) {
    field_ = text == "dtype" ? Field::dtype : text == "shape" ? Field::shape : Field::offsets;
    if (field_ == Field::offsets && text != "data_offsets") {
      fail("field {} is not known", quoted_name(text));
    }
    const int bit = 1 << static_cast<int>(field_);
    if (seen_ & bit) fail("'{}' twice", text);
    seen_ |= bit;
  }

  // Of a number that is neither a size nor an offset.
  bool no_size(std::string_view text) const {
    if (place_ != Place::array) return unexpected("a number");
    fail("{} in '{}'", printable(text), field_ == Field::shape ? "shape" : "data_offsets");
  }

  bool number(int64_t value) {
    if (place_ != Place::array) return unexpected("a number");
    if (value < 0) return no_size(fmt::format("{}", value));
    TensorEntry& tensor = header_.tensors.back();
    if (field_ == Field::shape) {
      if (std::ssize(tensor.shape) == kMaxDimensions) {
        fail("more than {} dimensions", kMaxDimensions);
      }
      tensor.shape.push_back(value);
    } else {
      if (offsets_ < 2) (offsets_ == 0 ? tensor.begin : tensor.bytes) = value;
      ++offsets_;
    }
    return true;
  }

  void count_text(const std::string& text) {
    text_bytes_ += static_cast<int64_t>(text.size());
    if (text_bytes_ > kMaxTextBytes) {
      fail_file(fmt::format("more than {} bytes of names and metadata", kMaxTextBytes));
    }
  }

  SafetensorsHeader& header_;
  std::string_view file_;
  Place place_ = Place::outside;
  Field field_ = Field::dtype;
  bool in_metadata_ = false, metadata_seen_ = false;
  int seen_ = 0;     // a bit a field of the tensor
  int offsets_ = 0;  // numbers in 'data_offsets'
  int64_t text_bytes_ = 0;
};

/// Where tensors lie, until here as [begin, end) in the data: they must cover it exactly once.
void check_places(SafetensorsHeader& header, int64_t data_bytes, std::string_view file) {
  const auto fail = [&](const TensorEntry& tensor, const std::string& what) {
    throw SafetensorsError(fmt::format("{}: tensor {} {}", file, quoted_name(tensor.name), what));
  };
  for (TensorEntry& tensor : header.tensors) {
    const int64_t end = tensor.bytes;
    if (tensor.begin > end) {
      fail(tensor, fmt::format("has reversed offsets [{}, {}]", tensor.begin, end));
    }
    if (end > data_bytes) {
      fail(tensor, fmt::format("ends at byte {} of {} bytes of data", end, data_bytes));
    }
    tensor.bytes = end - tensor.begin;
    const std::optional<int64_t> bytes = tensor_bytes(tensor);
    if (!bytes) fail(tensor, fmt::format("has no size in bytes: {}", type_text(tensor)));
    if (*bytes != tensor.bytes) {
      fail(tensor, fmt::format("is {} of {} bytes, but its offsets hold {}", type_text(tensor),
                               *bytes, tensor.bytes));
    }
  }
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const TensorEntry& a, const TensorEntry& b) {
              return std::tie(a.begin, a.bytes, a.name) < std::tie(b.begin, b.bytes, b.name);
            });
  int64_t end = 0;
  for (TensorEntry& tensor : header.tensors) {
    if (tensor.begin != end) {
      fail(tensor,
           fmt::format("begins at byte {} of the data, {} where the last one ends at {}",
                       tensor.begin, tensor.begin > end ? "after a gap" : "overlapping", end));
    }
    end += tensor.bytes;
    tensor.begin += header.data_begin;
  }
  if (end != data_bytes) {
    throw SafetensorsError(
        fmt::format("{}: {} bytes of data, of which tensors cover {}", file, data_bytes, end));
  }
}

void check_names(const SafetensorsHeader& header, std::string_view file) {
  std::vector<std::string_view> names;
  names.reserve(header.tensors.size());
  for (const TensorEntry& tensor : header.tensors) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) {
    throw SafetensorsError(fmt::format("{}: tensor {} twice", file, quoted_name(*twice)));
  }
  for (size_t i = 1; i < header.metadata.size(); ++i) {
    if (header.metadata[i].first == header.metadata[i - 1].first) {
      throw SafetensorsError(
          fmt::format("{}: metadata {} twice", file, quoted_name(header.metadata[i].first)));
    }
  }
}

}  // namespace

std::string_view name(Dtype dtype) { return kDtypes[static_cast<int>(dtype)].name; }
int element_bits(Dtype dtype) { return kDtypes[static_cast<int>(dtype)].bits; }

std::string type_text(const TensorEntry& tensor) {
  return fmt::format("{} [{}]", name(tensor.dtype), fmt::join(tensor.shape, ", "));
}

SafetensorsHeader parse_safetensors_header(const ByteSource& source, int64_t file_bytes,
                                           std::string_view file) {
  if (file_bytes < kLengthBytes) {
    throw SafetensorsError(fmt::format("{}: {} bytes, where the header's length alone takes {}",
                                       file, file_bytes, kLengthBytes));
  }
  char field[kLengthBytes];
  source(0, field);
  uint64_t length = 0;
  std::memcpy(&length, field, sizeof length);
  if (length < 2)
    throw SafetensorsError(fmt::format("{}: header length {} is below 2", file, length));
  if (length > static_cast<uint64_t>(kMaxTensorHeaderBytes)) {
    throw SafetensorsError(
        fmt::format("{}: header length {} exceeds {}", file, length, kMaxTensorHeaderBytes));
  }
  if (length > static_cast<uint64_t>(file_bytes - kLengthBytes)) {
    throw SafetensorsError(fmt::format("{}: header length {} exceeds the {} bytes after it", file,
                                       length, file_bytes - kLengthBytes));
  }
  SafetensorsHeader header{.data_begin = kLengthBytes + static_cast<int64_t>(length)};
  HeaderBytes bytes(source, kLengthBytes, header.data_begin, file);
  if (const auto first = static_cast<uint8_t>(bytes.current()); first != '{') {
    throw SafetensorsError(
        fmt::format("{}: header begins with byte {:#04x}, not with '{{'", file, first));
  }
  HeaderEvents events(header, file);
  nlohmann::json::sax_parse(HeaderIterator(&bytes), HeaderIterator(nullptr), &events);
  std::sort(header.metadata.begin(), header.metadata.end());
  check_names(header, file);
  check_places(header, file_bytes - header.data_begin, file);
  return header;
}

std::string layout_safetensors_header(std::span<TensorEntry> tensors, const Metadata& metadata) {
  // Written entry by entry: an ordered document looks keys up by walking all that went before.
  std::string text = "{";
  const auto quoted = [](const std::string& word) { return nlohmann::json(word).dump(); };
  int64_t end = 0;
  try {
    for (const auto& [key, value] : metadata) {
      text += fmt::format("{}{}:{}", text.size() == 1 ? "\"__metadata__\":{" : ",", quoted(key),
                          quoted(value));
    }
    if (!metadata.empty()) text += '}';
    for (TensorEntry& tensor : tensors) {
      const std::optional<int64_t> bytes = tensor_bytes(tensor);
      if (!bytes) {
        throw SafetensorsError(fmt::format("tensor {} has no size in bytes: {}",
                                           quoted_name(tensor.name), type_text(tensor)));
      }
      tensor.begin = end;
      tensor.bytes = *bytes;
      end += *bytes;
      text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                          text.size() > 1 ? "," : "", quoted(tensor.name), name(tensor.dtype),
                          fmt::join(tensor.shape, ","), tensor.begin, end);
    }
  } catch (const nlohmann::json::exception& error) {
    throw SafetensorsError(fmt::format("a name or value is not UTF-8: {}", error.what()));
  }
  text += '}';
  const size_t whole =
      (kLengthBytes + text.size() + kDataAlignment - 1) / kDataAlignment * kDataAlignment;
  text.resize(whole - kLengthBytes, ' ');
  if (std::ssize(text) > kMaxTensorHeaderBytes || std::ssize(tensors) > kMaxTensors) {
    throw SafetensorsError(fmt::format("a header of {} bytes and {} tensors exceeds {} or {}",
                                       text.size(), tensors.size(), kMaxTensorHeaderBytes,
                                       kMaxTensors));
  }
  for (TensorEntry& tensor : tensors) tensor.begin += static_cast<int64_t>(whole);
  const uint64_t length = text.size();
  std::string field(kLengthBytes, '\0');
  std::memcpy(field.data(), &length, sizeof length);
  return field + text;
}

}  // namespace nvfp4
