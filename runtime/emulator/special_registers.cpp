// SPDX-License-Identifier: Apache-2.0
// The values of special registers (PTX ISA, "Special Registers").
#include <algorithm>
#include <array>

#include "runtime/emulator/cluster.h"

namespace nvfp4::emulator {

std::array<uint32_t, 3> unflatten(int64_t number, const std::array<unsigned, 3>& extent) {
  return {static_cast<uint32_t>(number % extent[0]),
          static_cast<uint32_t>(number / extent[0] % extent[1]),
          static_cast<uint32_t>(number / extent[0] / extent[1])};
}

uint32_t Block::special(Special special, int warp, int lane) const {
  const auto& request = this->request();
  const auto& cluster = request.cluster;
  // One of three registers in a row.
  const auto of = [special](Special first, const auto& triple) {
    return triple[static_cast<int>(special) - static_cast<int>(first)];
  };
  const auto divided = [&](const auto& triple) {
    return std::array{triple[0] / cluster[0], triple[1] / cluster[1], triple[2] / cluster[2]};
  };
  if (special <= Special::tid_z) return of(Special::tid_x, thread_position(warp, lane));
  if (special <= Special::ntid_z) return of(Special::ntid_x, request.block);
  if (special <= Special::ctaid_z) return of(Special::ctaid_x, position_);
  if (special <= Special::nctaid_z) return of(Special::nctaid_x, request.grid);
  switch (special) {
    case Special::laneid:
      return lane;
    case Special::warpid:
      return warp;
    case Special::nwarpid:
      return static_cast<uint32_t>(warps_.size());
    case Special::smid:
      return static_cast<uint32_t>(number_ % std::max(1, request.sm_count));
    case Special::nsmid:
      return request.sm_count;
    case Special::gridid:
      return 1;
    case Special::lanemask_eq:
      return 1u << lane;
    case Special::lanemask_lt:
      return (1u << lane) - 1;
    case Special::lanemask_le:
      return (2u << lane) - 1;
    case Special::lanemask_gt:
      return ~((2u << lane) - 1);
    case Special::lanemask_ge:
      return ~((1u << lane) - 1);
    case Special::dynamic_smem_size:
      return request.dynamic_smem;
    case Special::total_smem_size:
      return static_cast<uint32_t>(shared_bytes_);
    case Special::cluster_ctarank:
      return rank_;
    case Special::cluster_nctarank:
      return cluster_.size();
    case Special::is_explicit_cluster:
      return to_cell(cluster_.size() > 1);
    default:
      break;
  }
  if (special <= Special::cluster_ctaid_z)
    return of(Special::cluster_ctaid_x, unflatten(rank_, cluster));
  if (special <= Special::cluster_nctaid_z) return of(Special::cluster_nctaid_x, cluster);
  if (special <= Special::clusterid_z) return of(Special::clusterid_x, divided(position_));
  return of(Special::nclusterid_x, divided(request.grid));
}

}  // namespace nvfp4::emulator
