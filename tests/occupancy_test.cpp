// SPDX-License-Identifier: Apache-2.0
#include "generator/occupancy.h"

#include <doctest/doctest.h>

using namespace nvfp4;

namespace {

const Device& h100() { return find_part("h100")->device; }
const Device& l40s() { return find_part("l40s")->device; }

}  // namespace

TEST_SUITE("occupancy") {
  TEST_CASE("residency is the least of what shared memory, threads and registers allow") {
    const KernelConfig deep{
        .block_n = 64, .block_m = 16, .warps_k = 4, .num_stages = 6};  // 106496 bytes
    CHECK(smem_bytes(deep) == 4 * 6 * (2304 + 2048));
    CHECK(resident_ctas(deep, h100()) == 2);
    CHECK(resident_ctas(deep, l40s()) == 0);
    const KernelConfig wide{
        .block_n = 64, .block_m = 64, .warps_n = 1, .warps_k = 2, .num_stages = 2};
    CHECK(estimated_registers(wide) > 200);
    CHECK(resident_ctas(wide, h100()) == 4);
  }
}
