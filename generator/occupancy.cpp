// SPDX-License-Identifier: Apache-2.0
#include "generator/occupancy.h"

#include <algorithm>

#include "templates/packed_layout.h"

namespace nvfp4 {
namespace {

// Each resident CTA costs the driver 1 KiB of shared memory beside its own.
constexpr int kReservedSmem = 1024;

// Main loop state of the mma family besides accumulators and fragments. Under a limit of 64
// registers, one 16-row unit of 8 tokens (4 + 8 of those) compiles without spills; two that share a
// stage (8 + 8) do not.
constexpr int kLoopRegisters = 50;

// What the exchange of partials keeps alive across the main loop. With none allowed for, the
// candidates of 4096 x 4096 at M = 64 that spilled were all split-K or stream-K.
constexpr int kExchangeRegisters = 48;

// Per 16-row unit of a warp whose strip does not start on a 64-row tile: addresses that are no
// constants.
constexpr int kUnalignedRegisters = 5;

// What ptxas wants beside large tiles to keep loads ahead of their use, for eight accumulators: one
// register, and one more for each k tile of a stage. Without it, 43 of 1433 configs of 1 to 14
// units and 1 to 16 token tiles spilled.
constexpr int kShareOfSums = 8;
constexpr int kPairRegisters = 2;  // where token tiles are loaded in pairs

// The wgmma family's: two sets of decoded fragments, a stage's addresses, and the words in flight.
constexpr int kWgmmaFragments = 32;
constexpr int kWgmmaLoopRegisters = 40;

}  // namespace

int estimated_registers(const KernelConfig& config) {
  if (is_wgmma(config)) {
    return accumulator_registers(config) + kWgmmaFragments + kWgmmaLoopRegisters;
  }
  const int token_tiles = config.block_m / kTokenTile;
  const int batch = batch_steps(config);
  const int exchange = uses_workspace(config) ? kExchangeRegisters : 0;
  const bool aligned = units_per_warp(config) % 4 == 0 && config.block_n % kTileRows == 0;
  const int addresses = aligned ? 0 : kUnalignedRegisters * units_per_warp(config);
  const int sums = accumulator_registers(config);
  const int ahead = sums * (k_tiles_per_stage(config) + 1) / kShareOfSums;
  const int pairs = batch == 1 ? kPairRegisters : 0;
  return addresses + sums + ahead + token_tiles * batch * 2 + pairs + kLoopRegisters + exchange;
}

int resident_ctas(const KernelConfig& config, const Device& device) {
  const int by_smem = device.smem_per_sm / (smem_bytes(config) + kReservedSmem);
  const int by_threads = device.threads_per_sm / threads(config);
  // With setmaxnreg the compiler takes all that the launch bounds allow.
  const int registers = is_wgmma(config) ? launch_registers(config)
                                         : std::min(register_budget(config),
                                                    (estimated_registers(config) + 7) / 8 * 8);
  // Each of an SM's four parts has a quarter of the registers, and warps are dealt over them.
  const int part_warps = device.registers_per_sm / 4 / (registers * kWarpThreads);
  const int by_registers = part_warps * 4 / (threads(config) / kWarpThreads);
  return std::min({by_smem, by_threads, by_registers, device.ctas_per_sm});
}

}  // namespace nvfp4
