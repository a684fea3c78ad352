// SPDX-License-Identifier: Apache-2.0
// The header of a safetensors file as text and as facts:
//
//   8 bytes   little-endian length of the header
//   header    JSON: {"NAME": {"dtype": "U8", "shape": [2, 3], "data_offsets": [0, 6]}, ...,
//             "__metadata__": {"KEY": "VALUE", ...}}, padded with spaces
//   data      the tensors, without a gap, to the end of the file; offsets count from its start
//
// The file may come from anyone. Nothing is allocated by what it claims, and a header is accepted
// only if its tensors cover the data exactly once. The limits keep a hostile file to 64 MiB and a
// second; no real checkpoint comes near them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nvfp4 {

/// A file that is no valid safetensors file, or that cannot be read or written. The message names
/// the file, the tensor and the numbers that disagree.
class SafetensorsError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The element types of the format.
enum class Dtype : int {
  boolean,
  f4,
  f6_e2m3,
  f6_e3m2,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64,
};
std::string_view name(Dtype dtype);  ///< "F8_E4M3"
int element_bits(Dtype dtype);

struct TensorEntry {
  std::string name;
  Dtype dtype = Dtype::u8;
  std::vector<int64_t> shape;
  int64_t begin = 0;  ///< in the file
  int64_t bytes = 0;
};

/// "F8_E4M3 [64, 4]"
std::string type_text(const TensorEntry& tensor);

using Metadata = std::vector<std::pair<std::string, std::string>>;

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;  ///< by place in the file
  Metadata metadata;                 ///< by key
  int64_t data_begin = 0;
};

constexpr int64_t kMaxTensorHeaderBytes = 100'000'000;  ///< as the reference implementation
constexpr int64_t kMaxTensors = 1 << 17;                ///< of one file
constexpr int64_t kMaxTokenBytes = 1 << 20;           ///< one name, value, number or run of blanks
constexpr int64_t kMaxTextBytes = int64_t{32} << 20;  ///< all names and metadata
constexpr int64_t kMaxDimensions = 16;

/// Fills `out` with the file's bytes from `offset`, or throws.
using ByteSource = std::function<void(int64_t offset, std::span<char> out)>;

/// Reads the header of a file of `file_bytes` bytes called `file`. Throws SafetensorsError.
SafetensorsHeader parse_safetensors_header(const ByteSource& source, int64_t file_bytes,
                                           std::string_view file);

/// Sets `begin` and `bytes` of every tensor, one after the other in the order given, and returns
/// the length field and the header, padded so that the data begin at a multiple of 4096. Throws
/// SafetensorsError for what parse_safetensors_header would not take.
std::string layout_safetensors_header(std::span<TensorEntry> tensors, const Metadata& metadata);

}  // namespace nvfp4
