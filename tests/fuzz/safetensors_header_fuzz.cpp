// SPDX-License-Identifier: Apache-2.0
// Any bytes as a safetensors file: refused in a line, or its tensors cover the data exactly once,
// its header is JSON to another parser too, and writing it again gives the same tensors.
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

#include "runtime/safetensors_header.h"

using namespace nvfp4;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

ByteSource source_of(std::string_view bytes) {
  return [bytes](int64_t offset, std::span<char> out) {
    require(offset >= 0 && out.size() <= bytes.size() - static_cast<size_t>(offset));
    std::memcpy(out.data(), bytes.data() + offset, out.size());
  };
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  SafetensorsHeader header;
  try {
    header = parse_safetensors_header(source_of(bytes), static_cast<int64_t>(size), "f");
  } catch (const SafetensorsError& error) {
    require(std::string_view(error.what()).find('\n') == std::string_view::npos);
    return 0;
  }
  int64_t end = header.data_begin;
  for (const TensorEntry& tensor : header.tensors) {
    require(tensor.begin == end && tensor.bytes >= 0);
    end += tensor.bytes;
  }
  require(end == static_cast<int64_t>(size));
  const std::string_view text = bytes.substr(8, static_cast<size_t>(header.data_begin - 8));
  require(nlohmann::json::accept(text));

  SafetensorsHeader again = header;
  std::string file = layout_safetensors_header(again.tensors, again.metadata);
  file.resize(file.size() + static_cast<size_t>(end - header.data_begin));
  again = parse_safetensors_header(source_of(file), static_cast<int64_t>(file.size()), "g");
  require(again.metadata == header.metadata && again.tensors.size() == header.tensors.size());
  for (size_t i = 0; i < again.tensors.size(); ++i) {
    require(again.tensors[i].shape == header.tensors[i].shape);
    require(again.tensors[i].bytes == header.tensors[i].bytes);
  }
  return 0;
}
