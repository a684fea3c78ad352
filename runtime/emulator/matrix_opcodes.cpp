// SPDX-License-Identifier: Apache-2.0
// ldmatrix, stmatrix and mma.sync. The order of an mma's sum, which the hardware leaves open, is
// here: start with the accumulator, add the products in ascending k, each step rounded to nearest
// even in FP32 (products of two 16-bit numbers are exact). Data whose sums are exact give the same
// bits in any order.
#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "runtime/emulator/block.h"
#include "runtime/emulator/half_float.h"
#include "runtime/emulator/memory_access.h"
#include "runtime/emulator/opcode_table.h"

namespace nvfp4::emulator {
namespace {

void require_whole_warp(Warp& warp) {
  if (warp.mask() == kAllLanes) return;
  warp.fail(FaultKind::barrier_divergence, first_lane(~warp.mask()),
            fmt::format("a warp-wide instruction runs without this thread (lanes here: {:#010x})",
                        warp.mask()));
}

// kCount 8x8 matrices of 16-bit elements. Lane 8m + r passes the address of row r of matrix m and
// receives elements 2(l%4), 2(l%4)+1 of row l/4 of each matrix; transposed, of column l/4.
template <int kCount, bool kTransposed>
void load_matrix(Warp& warp, const Instruction& instruction) {
  constexpr size_t kRowBytes = 16;
  require_whole_warp(warp);
  Block& block = warp.block();
  const LaneAddresses address = lane_addresses(warp, instruction, kCount, instruction.immediate);
  uint16_t element[kCount][8][8];
  SharedShadow::Reader reader(block.shadow(), warp.agent());
  for (int row = 0; row < kCount * 8; ++row) {
    const size_t offset = shared_offset(warp, row, address[row], kRowBytes, "reads");
    reader.read(SharedShadow::kWholeWarp, offset, kRowBytes);
    std::memcpy(element[row / 8][row % 8], block.shared() + offset, kRowBytes);
  }
  for (int m = 0; m < kCount; ++m) {
    uint32_t* d = warp.cells<uint32_t>(instruction.operand[m]);
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      const int major = lane / 4;
      const int minor = lane % 4 * 2;
      const uint32_t low = kTransposed ? element[m][minor][major] : element[m][major][minor];
      const uint32_t high =
          kTransposed ? element[m][minor + 1][major] : element[m][major][minor + 1];
      d[lane] = high << 16 | low;
    }
  }
}

// The reverse: element pairs come from where load_matrix puts them.
template <int kCount, bool kTransposed>
void store_matrix(Warp& warp, const Instruction& instruction) {
  constexpr size_t kRowBytes = 16;
  require_whole_warp(warp);
  Block& block = warp.block();
  const LaneAddresses address = lane_addresses(warp, instruction, 0, instruction.immediate);
  uint16_t element[kCount][8][8];
  for (int m = 0; m < kCount; ++m) {
    const uint32_t* s = warp.cells<uint32_t>(instruction.operand[1 + m]);
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      const int major = lane / 4;
      const int minor = lane % 4 * 2;
      (kTransposed ? element[m][minor][major] : element[m][major][minor]) =
          static_cast<uint16_t>(s[lane]);
      (kTransposed ? element[m][minor + 1][major] : element[m][major][minor + 1]) =
          static_cast<uint16_t>(s[lane] >> 16);
    }
  }
  for (int row = 0; row < kCount * 8; ++row) {
    const size_t offset = shared_offset(warp, row, address[row], kRowBytes, "writes");
    const std::byte* from = reinterpret_cast<const std::byte*>(element[row / 8][row % 8]);
    const bool same = std::memcmp(block.shared() + offset, from, kRowBytes) == 0;
    block.shadow().write(warp.agent(), SharedShadow::kWholeWarp, offset, kRowBytes, same);
    std::memcpy(block.shared() + offset, from, kRowBytes);
  }
}

// Eight output columns at once.
typedef float Row __attribute__((vector_size(32)));

// One register of a fragment, widened: [half][lane].
using Fragment = float[2][kWarpLanes];

template <class Format>
void widen(const uint32_t* cells, Fragment& fragment) {
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    fragment[0][lane] = Format::widen(static_cast<uint16_t>(cells[lane]));
    fragment[1][lane] = Format::widen(static_cast<uint16_t>(cells[lane] >> 16));
  }
}

// sums[row] += a[row, k] * b[k] for k ascending. Lane 4g + t of a's register r holds row g + 8(r%2)
// and k = 8(r/2) + 2t + half.
[[gnu::always_inline]] inline void multiply_rows(const Fragment* a, const Row* b, int depth,
                                                 Row* sums) {
  for (int row = 0; row < 16; ++row) {
    Row sum = sums[row];
    for (int k = 0; k < depth; ++k) {
      const int reg = k / 8 * 2 + row / 8;
      sum += a[reg][k % 2][row % 8 * 4 + k % 8 / 2] * b[k];
    }
    sums[row] = sum;
  }
}

// The same code for two processors, chosen once: a Row is one AVX register or two SSE ones. Neither
// has fused multiply-add, so both round alike.
[[gnu::target("avx2")]] void multiply_rows_avx2(const Fragment* a, const Row* b, int depth,
                                                Row* sums) {
  multiply_rows(a, b, depth, sums);
}
void multiply_rows_sse(const Fragment* a, const Row* b, int depth, Row* sums) {
  multiply_rows(a, b, depth, sums);
}

const auto multiply_accumulate = [] {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") ? &multiply_rows_avx2 : &multiply_rows_sse;
}();

uint32_t result_bits(float value) {
  return value == value ? std::bit_cast<uint32_t>(value) : 0x7fffffffu;
}

// D[16,8] = A[16,kDepth] x B[kDepth,8] + C. Operands: 4 of D, kDepth/4 of A, kDepth/8 of B, 4 of C.
template <class Format, int kDepth>
void multiply_matrices(Warp& warp, const Instruction& instruction) {
  require_whole_warp(warp);
  constexpr int kA = 4;
  constexpr int kB = kA + kDepth / 4;
  constexpr int kC = kB + kDepth / 8;
  alignas(64) Fragment a[kDepth / 4];
  alignas(64) Row b[kDepth];
  alignas(64) Row sums[16];
  for (int r = 0; r < kDepth / 4; ++r)
    widen<Format>(warp.cells<uint32_t>(instruction.operand[kA + r]), a[r]);
  for (int r = 0; r < kDepth / 8; ++r) {
    alignas(64) Fragment fragment;  // lane 4n + t: column n, k = 8r + 2t + half
    widen<Format>(warp.cells<uint32_t>(instruction.operand[kB + r]), fragment);
    for (int k = 0; k < 8; ++k) {
      for (int n = 0; n < 8; ++n) b[r * 8 + k][n] = fragment[k % 2][n * 4 + k / 2];
    }
  }
  for (int r = 0; r < 4; ++r) {  // lane 4g + t: row g + 8(r/2), column 2t + r%2
    const uint32_t* c = warp.cells<float>(instruction.operand[kC + r]);
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      sums[r / 2 * 8 + lane / 4][lane % 4 * 2 + r % 2] = std::bit_cast<float>(c[lane]);
    }
  }
  multiply_accumulate(a, b, kDepth, sums);
  for (int r = 0; r < 4; ++r) {
    uint32_t* d = warp.cells<uint32_t>(instruction.operand[r]);
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      d[lane] = result_bits(sums[r / 2 * 8 + lane / 4][lane % 4 * 2 + r % 2]);
    }
  }
}

template <int kCount>
void add_load_and_store(OpcodeTable& table) {
  const std::string operands = std::string(kCount, 'w') + "=a";
  for (const char* space : {"shared", "shared::cta"}) {
    table.add(fmt::format("ldmatrix.sync.aligned.m8n8.x{}.{}.b16", kCount, space),
              {operands, &load_matrix<kCount, false>, 0});
    table.add(fmt::format("ldmatrix.sync.aligned.m8n8.x{}.trans.{}.b16", kCount, space),
              {operands, &load_matrix<kCount, true>, 0});
    const std::string sources = "=a" + std::string(kCount, 'w');
    table.add(fmt::format("stmatrix.sync.aligned.m8n8.x{}.{}.b16", kCount, space),
              {sources, &store_matrix<kCount, false>, 0});
    table.add(fmt::format("stmatrix.sync.aligned.m8n8.x{}.trans.{}.b16", kCount, space),
              {sources, &store_matrix<kCount, true>, 0});
  }
}

}  // namespace

void add_matrix_opcodes(OpcodeTable& table) {
  add_load_and_store<1>(table);
  add_load_and_store<2>(table);
  add_load_and_store<4>(table);
  table.add("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
            {"wwww=wwwwwwwwww", &multiply_matrices<Bf16, 16>, 0});
  table.add("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
            {"wwww=wwwwwwwwww", &multiply_matrices<Fp16, 16>, 0});
  table.add("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32",
            {"wwww=wwwwwww", &multiply_matrices<Bf16, 8>, 0});
  table.add("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32",
            {"wwww=wwwwwww", &multiply_matrices<Fp16, 8>, 0});
}

}  // namespace nvfp4::emulator
