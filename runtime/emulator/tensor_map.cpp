// SPDX-License-Identifier: Apache-2.0
#include "runtime/emulator/tensor_map.h"

#include <cstring>

namespace nvfp4::emulator {
namespace {

constexpr uint64_t kMark = 0x70616d2d34706676;  // "vfp4-map"

struct Encoded {
  uint64_t mark;
  TensorMap map;
};
static_assert(sizeof(Encoded) <= TensorMap::kBytes);

}  // namespace

size_t TensorMap::box_bytes() const {
  size_t bytes = element_bytes;
  for (int d = 0; d < rank; ++d) bytes *= box[d];
  return bytes;
}

void TensorMap::encode(void* map) const {
  const Encoded encoded{kMark, *this};
  std::memset(map, 0, kBytes);
  std::memcpy(map, &encoded, sizeof encoded);
}

std::optional<TensorMap> TensorMap::decode(const void* map) {
  Encoded encoded;
  std::memcpy(static_cast<void*>(&encoded), map, sizeof encoded);
  if (encoded.mark != kMark) return std::nullopt;
  return encoded.map;
}

}  // namespace nvfp4::emulator
