// SPDX-License-Identifier: Apache-2.0
#include "runtime/emulator/wgmma_operand.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "runtime/emulator/cluster.h"

namespace nvfp4::emulator {
namespace {

constexpr uint32_t kChunkBytes = 16;
constexpr uint16_t kNan = 0x7fff;  // in bf16 and in fp16

// A field of 14 bits that counts 16 bytes.
uint32_t field(uint64_t bits, int shift) {
  return static_cast<uint32_t>(bits >> shift & 0x3fff) << 4;
}

}  // namespace

MatrixDescriptor::MatrixDescriptor(uint64_t bits)
    : start_(field(bits, 0)),
      stride_(field(bits, 32)),
      pitch_(kChunkBytes),
      chunk_stride_(field(bits, 16)),
      mask_(0),
      base_offset_(static_cast<uint32_t>(bits >> 49 & 7)) {
  const uint64_t swizzle = bits >> 62;  // 0: none, 1: 128 bytes, 2: 64, 3: 32
  if (swizzle == 0) return;
  pitch_ = 256u >> swizzle;
  chunk_stride_ = kChunkBytes;  // the leading offset is unused
  mask_ = pitch_ - kChunkBytes;
}

std::string MatrixDescriptor::complaint(int rows, size_t shared_bytes) const {
  if (base_offset_ != 0)
    return fmt::format("a matrix descriptor with base offset {}, which is not run", base_offset_);
  if (mask_ != 0) {
    const uint32_t row = start_ & (pitch_ - 1);
    const uint32_t pattern = 8 * pitch_;
    if (row + 2 * kChunkBytes > pitch_) {
      return fmt::format(
          "a matrix descriptor at shared+{:#x}, whose 16 elements leave a row of {} "
          "bytes",
          start_, pitch_);
    }
    if ((start_ - row) % pattern != 0 || stride_ % pattern != 0) {
      return fmt::format(
          "a matrix descriptor at shared+{:#x} with stride {}: a swizzle of {} bytes "
          "starts at multiples of {}",
          start_, stride_, pitch_, pattern);
    }
  }
  uint32_t last = 0;
  for (int row = 0; row < rows; ++row) last = std::max({last, chunk(row, 0), chunk(row, 1)});
  if (last + kChunkBytes <= shared_bytes) return {};
  return fmt::format("a matrix descriptor at shared+{:#x} for {} rows leaves the CTA's {} bytes",
                     start_, rows, shared_bytes);
}

void read_operand(Warp& warp, uint64_t descriptor, int rows, uint16_t* elements) {
  Block& block = warp.block();
  const MatrixDescriptor matrix(descriptor);
  if (const std::string complaint = matrix.complaint(rows, block.shared_bytes());
      !complaint.empty()) {
    warp.fail(FaultKind::wgmma_misuse, first_lane(warp.mask()), complaint);
  }
  HappensBefore& order = block.cluster().order();
  const int agent = block.wgmma_agent(warp);
  const Access reader{order.base() + warp.wgmma().open_group(), static_cast<uint16_t>(agent),
                      SharedShadow::kWholeWarp};
  order.reach(agent, reader.stamp);
  SharedShadow& shadow = block.shadow();
  std::vector<SharedShadow::Write> found;
  const std::byte* shared = block.shared();
  for (int row = 0; row < rows; ++row) {
    for (int chunk = 0; chunk < 2; ++chunk) {
      const uint32_t offset = matrix.chunk(row, chunk);
      uint16_t* target = elements + row * 16 + chunk * 8;
      if (!shadow.written(offset, kChunkBytes)) {
        std::fill_n(target, 8, kNan);
        continue;
      }
      shadow.read_async(reader, offset, kChunkBytes, found);
      std::memcpy(target, shared + offset, kChunkBytes);
    }
  }
  const int first = warp.index() / Warpgroup::kWarps * Warpgroup::kWarps;
  for (int w = first; w < first + Warpgroup::kWarps; ++w) {
    block.blame(w);
    for (const SharedShadow::Write& write : found) {
      shadow.check_async_read(block.warp(w).agent(), SharedShadow::kWholeWarp, matrix.chunk(0, 0),
                              kChunkBytes, write);
    }
  }
  block.blame(warp.index());
}

}  // namespace nvfp4::emulator
