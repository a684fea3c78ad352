// SPDX-License-Identifier: Apache-2.0
// Guard zones and poison.
#include "tuner/guarded_buffer.h"

#include <algorithm>
#include <array>
#include <vector>

namespace nvfp4 {
namespace {

constexpr std::byte kGuard{0xa5};

bool all(std::span<const std::byte> bytes, std::byte value) {
  return std::all_of(bytes.begin(), bytes.end(), [=](std::byte b) { return b == value; });
}

}  // namespace

GuardedBuffer::GuardedBuffer(const Gpu& gpu, size_t bytes)
    : gpu_(gpu), whole_(gpu, bytes + 2 * kGuardBytes), bytes_(bytes) {
  std::array<std::byte, kGuardBytes> guard;
  guard.fill(kGuard);
  whole_.upload(guard, 0);
  whole_.upload(guard, kGuardBytes + bytes);
}

void GuardedBuffer::fill(std::byte value, CUstream stream) {
  if (bytes_ == 0) return;
  const auto byte = std::to_integer<unsigned char>(value);
  gpu_.check(gpu_.driver().memset_d8_async(address(), byte, bytes_, stream), "cuMemsetD8Async");
}

std::optional<std::string> GuardedBuffer::guard_damage() const {
  std::array<std::byte, kGuardBytes> guard;
  whole_.download(guard, 0);
  if (!all(guard, kGuard)) return "before";
  whole_.download(guard, kGuardBytes + bytes_);
  if (!all(guard, kGuard)) return "behind";
  return std::nullopt;
}

bool GuardedBuffer::zero(size_t bytes) const {
  std::vector<std::byte> head(bytes);
  whole_.download(head, kGuardBytes);
  return all(head, std::byte{0});
}

bool poisoned_between_rows(std::span<const std::byte> bytes, size_t row_bytes, size_t pitch) {
  if (row_bytes == pitch) return true;
  for (size_t row = 0; row < bytes.size(); row += pitch) {
    if (!all(bytes.subspan(row + row_bytes, pitch - row_bytes), kPoison)) return false;
  }
  return true;
}

}  // namespace nvfp4
