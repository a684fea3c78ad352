// SPDX-License-Identifier: Apache-2.0
// What a GPU is, as far as generating and choosing kernels goes: its instruction set and the
// physical facts that bound a kernel. Filled from the driver for a real card, from data sheets for
// a known part.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace nvfp4 {

/// A compute capability. `accelerated` is the "a" of sm_90a: features that exist on that chip
/// alone.
struct Arch {
  int major = 0;
  int minor = 0;
  bool accelerated = false;

  int number() const { return major * 10 + minor; }
  friend bool operator==(const Arch&, const Arch&) = default;
};

/// "sm_90a" or "compute_90a" from an Arch; parse accepts either spelling and nothing else.
std::string sm_name(Arch arch);
std::string compute_name(Arch arch);
std::optional<Arch> parse_arch(std::string_view text);

/// The arch we compile for on a device of this capability: 9.0 becomes sm_90a. Empty when the
/// product does not support it (below 8.0, or Blackwell and later, which have FP4 units of their
/// own).
std::optional<Arch> target_arch(int major, int minor);

/// Physical facts of one GPU. Bandwidths are data-sheet peaks; measured ceilings live with
/// measurements.
struct Device {
  std::string name;  ///< a label, never a key
  Arch arch;
  int sm_count = 0;
  int64_t l2_bytes = 0;
  int64_t memory_bytes = 0;
  int smem_per_block = 0;  ///< opt-in maximum, bytes
  int smem_per_sm = 0;     ///< bytes
  int registers_per_sm = 65536;
  int threads_per_sm = 2048;
  int ctas_per_sm = 32;
  double memory_bandwidth = 0;  ///< bytes/s, peak
  double clock_hz = 0;          ///< SM boost clock
  double tensor_flops = 0;      ///< dense bf16 FLOP/s with FP32 accumulation, peak
  bool emulated = false;
};

/// The parts the product knows by name: a100, a10g, l40s, rtx4090, rtx3090, h100, h200 (data
/// sheets).
struct KnownPart {
  std::string_view id;
  Device device;
  std::string_view source;  ///< the data sheet the numbers come from
};
std::span<const KnownPart> known_parts();
const KnownPart* find_part(std::string_view id);

}  // namespace nvfp4
