// SPDX-License-Identifier: Apache-2.0
// Data of the pieces, and where they go.
#include "tuner/loaded_case.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "runtime/pack.h"
#include "tuner/routing.h"

namespace nvfp4 {
namespace {

int64_t matrices(const Problem& problem) { return std::max<int64_t>(problem.experts, 1); }

std::vector<LoadedCase::Piece> make_pieces(const Problem& problem, GateKind kind, int64_t max_m,
                                           uint64_t seed, int threads) {
  const bool grouped = problem.kind == ProblemKind::grouped;
  std::vector<Share> shares = {{.expert = 0, .tokens = max_m}};
  if (grouped) shares = gate_shares(problem.experts, max_m);
  std::vector<LoadedCase::Piece> pieces;
  for (const Share& share : shares) {
    const GateRequest request{.n = problem.n,
                              .k = problem.k,
                              .m = std::max<int64_t>(share.tokens, 1),
                              .act = problem.act,
                              .seed = seed + static_cast<uint64_t>(share.expert),
                              .bias = kind == GateKind::random || kind == GateKind::special};
    pieces.push_back({.expert = share.expert, .data = make_gate_case(kind, request, threads)});
    if (grouped) pieces.back().data.name += fmt::format(", expert {}", share.expert);
  }
  return pieces;
}

int64_t total_tokens(std::span<const LoadedCase::Piece> pieces) {
  int64_t tokens = 0;
  for (const LoadedCase::Piece& piece : pieces) tokens += piece.data.m;
  return tokens;
}

}  // namespace

LoadedCase::LoadedCase(const Gpu& gpu, const Problem& problem, GateKind kind, int64_t max_m,
                       uint64_t seed, int threads)
    : LoadedCase(gpu, problem, make_pieces(problem, kind, max_m, seed, threads), threads) {}

LoadedCase::LoadedCase(const Gpu& gpu, const Problem& problem, std::vector<Piece> pieces,
                       int threads)
    : experts_(problem.experts),
      pieces_(std::move(pieces)),
      weights_(gpu, packed_bytes(problem.n, problem.k) * matrices(problem)),
      activations_(gpu, total_tokens(pieces_) * lda() * 2),
      global_scales_(gpu, pieces_.front().data.global_scales.size() * 4 * matrices(problem)),
      bias_(gpu, pieces_.front().data.bias.size() * 2 * matrices(problem)),
      offsets_(gpu, (experts_ + 1) * 4) {
  std::vector<uint8_t> packed(packed_bytes(problem.n, problem.k));
  for (const Piece& piece : pieces_) {
    const GateCase& data = piece.data;
    pack(data.codes, data.scales, data.n, data.k, packed, threads, data.name);
    const auto put = [&](DeviceBuffer& buffer, std::span<const std::byte> bytes) {
      if (!bytes.empty()) buffer.upload(bytes, piece.expert * bytes.size());
    };
    put(weights_, bytes_of(packed));
    put(global_scales_, bytes_of(data.global_scales));
    put(bias_, bytes_of(data.bias));
  }
  if (experts_ > 0) {
    groups_ = {offsets_.as<int>(), static_cast<int>(experts_)};
  } else {
    activations_.upload(bytes_of(pieces_.front().data.activations));
  }
}

void LoadedCase::arrange(int64_t m) {
  if (m == arranged_) return;
  arranged_ = m;
  if (experts_ == 0) {
    pieces_.front().data.m = m;
    return;
  }
  const std::vector<Share> shares = gate_shares(experts_, m);
  std::vector<uint16_t> rows;
  for (size_t i = 0; i < shares.size(); ++i) {
    Piece& piece = pieces_[i];
    piece.first = static_cast<int64_t>(rows.size()) / lda();
    piece.data.m = shares[i].tokens;
    const auto begin = piece.data.activations.begin();
    rows.insert(rows.end(), begin, begin + piece.data.m * lda());
  }
  activations_.upload(bytes_of(rows));
  const std::vector<int32_t> offsets = offsets_of(shares, experts_);
  offsets_.upload(bytes_of(offsets));
}

GemmParams LoadedCase::params() const {
  return {.weights = weights_.as<>(),
          .activations = activations_.as<>(),
          .bias = bias_.size() == 0 ? nullptr : bias_.as<>(),
          .global_scales = global_scales_.as<float>(),
          .lda = lda(),
          .m = static_cast<int>(arranged_)};
}

}  // namespace nvfp4
