// SPDX-License-Identifier: Apache-2.0
// The values of special registers (PTX ISA, "Special Registers").
#include <algorithm>

#include "runtime/emulator/cluster.h"

namespace nvfp4::emulator {
namespace {

int index_of(Special special, Special first) {
  return static_cast<int>(special) - static_cast<int>(first);
}

}  // namespace

std::array<uint32_t, 3> unflatten(int64_t number, const std::array<unsigned, 3>& extent) {
  return {static_cast<uint32_t>(number % extent[0]),
          static_cast<uint32_t>(number / extent[0] % extent[1]),
          static_cast<uint32_t>(number / extent[0] / extent[1])};
}

uint32_t Block::special(Special special, int warp, int lane) const {
  const auto thread = thread_position(warp, lane);
  const auto& grid = request().grid;
  const auto& block = request().block;
  switch (special) {
    case Special::tid_x:
      return thread[0];
    case Special::tid_y:
      return thread[1];
    case Special::tid_z:
      return thread[2];
    case Special::ntid_x:
      return block[0];
    case Special::ntid_y:
      return block[1];
    case Special::ntid_z:
      return block[2];
    case Special::ctaid_x:
      return position_[0];
    case Special::ctaid_y:
      return position_[1];
    case Special::ctaid_z:
      return position_[2];
    case Special::nctaid_x:
      return grid[0];
    case Special::nctaid_y:
      return grid[1];
    case Special::nctaid_z:
      return grid[2];
    case Special::laneid:
      return lane;
    case Special::warpid:
      return warp;
    case Special::nwarpid:
      return static_cast<uint32_t>(warps_.size());
    case Special::smid:
      return static_cast<uint32_t>(number_ % std::max(1, request().sm_count));
    case Special::nsmid:
      return request().sm_count;
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
      return request().dynamic_smem;
    case Special::total_smem_size:
      return static_cast<uint32_t>(shared_bytes_);
    case Special::cluster_ctaid_x:
    case Special::cluster_ctaid_y:
    case Special::cluster_ctaid_z:
      return unflatten(rank_, request().cluster)[index_of(special, Special::cluster_ctaid_x)];
    case Special::cluster_nctaid_x:
    case Special::cluster_nctaid_y:
    case Special::cluster_nctaid_z:
      return request().cluster[index_of(special, Special::cluster_nctaid_x)];
    case Special::clusterid_x:
    case Special::clusterid_y:
    case Special::clusterid_z: {
      const int d = index_of(special, Special::clusterid_x);
      return position_[d] / request().cluster[d];
    }
    case Special::nclusterid_x:
    case Special::nclusterid_y:
    case Special::nclusterid_z: {
      const int d = index_of(special, Special::nclusterid_x);
      return grid[d] / request().cluster[d];
    }
    case Special::cluster_ctarank:
      return rank_;
    case Special::cluster_nctarank:
      return cluster_.size();
    case Special::is_explicit_cluster:
      return to_cell(cluster_.size() > 1);
    case Special::variable:
      break;
  }
  return 0;
}

}  // namespace nvfp4::emulator
